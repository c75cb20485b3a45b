"""Where each array of a training state lies: whole on every device, or split.

ZeRO-1 (https://arxiv.org/abs/1910.02054) splits the buffers of the optimizer over the
devices, FSDP (ZeRO-3) the parameters as well. Under `jit` both are placements and
nothing else: arrays stay global, and so a norm is that of the whole array, for which
the compiler sums the squares of the shards. What is stated here beside the placement is
where parameters are made whole, because the compiler, left to choose, may move
activations instead.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from lars_jax.errors import InputError
from lars_jax.train.accumulate import Batch, LossFn
from lars_jax.train.parallel import AXIS
from lars_jax.train.state import ModelState, Params, TrainState

StateSharding = Literal["none", "zero1", "fsdp"]
Rule = tuple[str, int | None]
"""A regular expression searched for in a path, and the axis to split or None."""

SMALLEST = 4096
"""Entries from which a parameter is split where no rule says so.

Biases and the parameters of normalisation have fewer; gathering such a leaf costs more
than its bytes are worth.
"""

Path = tuple[str, ...]


def state_shardings(
    state: TrainState,
    mesh: Mesh | AbstractMesh,
    kind: StateSharding,
    rules: Sequence[Rule] = (),
    *,
    smallest: int = SMALLEST,
) -> TrainState:
    """Return the sharding of every array of a training state.

    A buffer of the optimizer follows the parameter that it mirrors: the one whose path
    its own ends with and whose shape it has. Counts, numbers, telemetry and batch
    statistics are whole on every device.

    Args:
        state: arrays, or their shapes as `jax.eval_shape` returns them.
        mesh: as `data_mesh` makes it, of N devices.
        kind: "none" splits nothing, "zero1" the optimizer's buffers, "fsdp" the
            parameters too.
        rules: as `parameter_shardings` takes them.
        smallest: entries from which a leaf is split where no rule says so.

    Returns:
        A state with a `NamedSharding` in the place of every array.

    Raises:
        InputError: an unknown kind, or a rule that cannot be applied.

    Of 3 * 8 parameters each of 4 devices keeps 6 of the momentum:

    >>> import jax.numpy as jnp, optax
    >>> tx = optax.sgd(0.1, momentum=0.9)
    >>> state = TrainState.create({"w": jnp.ones((3, 8))}, {}, tx)
    >>> mesh = AbstractMesh((4,), ("data",))
    >>> found = state_shardings(state, mesh, "zero1", smallest=1)
    >>> found.opt_state[0].trace["w"].shard_shape((3, 8))
    (3, 2)
    >>> found.params["w"].shard_shape((3, 8))
    (3, 8)
    """
    if kind not in get_args(StateSharding):
        raise InputError(
            f"a state is sharded in one of the ways {get_args(StateSharding)}; got "
            f"{kind!r}: choose one"
        )
    whole = jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec()), state)
    if kind == "none":
        return whole
    split = parameter_shardings(state.params, mesh, rules, smallest=smallest)
    whole = whole._replace(opt_state=_mirrored(state, split, whole.opt_state))
    return whole._replace(params=split) if kind == "fsdp" else whole


def parameter_shardings(
    params: Params,
    mesh: Mesh | AbstractMesh,
    rules: Sequence[Rule] = (),
    *,
    smallest: int = SMALLEST,
) -> Any:
    """Return the sharding of every parameter, each split along one axis at most.

    Args:
        params: tree of arrays or of `jax.ShapeDtypeStruct`.
        mesh: as `data_mesh` makes it, of N devices.
        rules: pairs of a regular expression, searched for in the slash-joined path of
            a parameter, and the axis to split, or None to leave it whole; the first
            that matches wins. A parameter without a rule is split along the largest
            axis that N divides, the first of these where several are largest.
        smallest: entries from which a parameter without a rule is split.

    Returns:
        Tree of `NamedSharding`, in the structure of `params`.

    Raises:
        InputError: a rule matches no parameter, or names an axis that its parameter
            does not have or that N does not divide; the mesh has no axis `data`.

    >>> import jax.numpy as jnp
    >>> params = {"kernel": jnp.ones((8, 16)), "bias": jnp.ones(16)}
    >>> mesh = AbstractMesh((8,), ("data",))
    >>> found = parameter_shardings(params, mesh, smallest=100)
    >>> found["kernel"].shard_shape((8, 16)), found["bias"].shard_shape((16,))
    ((8, 2), (16,))
    >>> found = parameter_shardings(params, mesh, [("kernel$", 0), ("bias$", 0)])
    >>> found["kernel"].shard_shape((8, 16)), found["bias"].shard_shape((16,))
    ((1, 16), (2,))
    """
    if AXIS not in mesh.shape:
        raise InputError(
            f"a state is split over the mesh axis {AXIS!r}; got a mesh of the axes "
            f"{mesh.axis_names}: make it with data_mesh"
        )
    devices = mesh.shape[AXIS]
    patterns = [_compiled(rule) for rule in rules]
    leaves = list(_by_path(params))
    names = ["/".join(path) for path, _ in leaves]
    for pattern, _ in patterns:
        if not any(pattern.search(name) for name in names):
            raise InputError(
                f"a sharding rule must match some parameter; {pattern.pattern!r} "
                f"matches none of {len(names)}, such as {names[:1]}: mend the pattern "
                "or leave the rule out"
            )

    def axis_of(name: str, shape: tuple[int, ...]) -> int | None:
        for pattern, axis in patterns:
            if pattern.search(name):
                return _checked_axis(axis, pattern.pattern, name, shape, devices)
        return _default_axis(shape, devices, smallest)

    found = [
        _sharding(mesh, axis_of(name, leaf.shape))
        for name, (_, leaf) in zip(names, leaves, strict=True)
    ]
    return jax.tree.structure(params).unflatten(found)


def gathered(loss_fn: LossFn, shardings: Any) -> LossFn:
    """Return a loss that makes parameters whole for use and leaves its gradient split.

    Where parameters are whole already, as under ZeRO-1, only the gradient is split.
    For use under `jit`, by `update`; it has no forward-mode derivative.

    Args:
        loss_fn: as `update` takes it.
        shardings: of the gradient, as `parameter_shardings` returns them.

    >>> import jax.numpy as jnp
    >>> from lars_jax.train.parallel import data_mesh
    >>> params = {"w": jnp.array([3.0, 4.0])}
    >>> loss_fn = lambda params, *_: (jnp.sum(params["w"] ** 2), ({}, {}))
    >>> shardings = parameter_shardings(params, data_mesh(1), [("w", 0)])
    >>> loss, _ = gathered(loss_fn, shardings)(params, {}, {}, jax.random.key(0))
    >>> print(loss)
    25.0
    """

    def whole_loss_fn(
        params: Params, model_state: ModelState, batch: Batch, key: jax.Array
    ) -> Any:
        params = jax.tree.map(_gathered_leaf, params, shardings)
        return loss_fn(params, model_state, batch, key)

    return whole_loss_fn


def shard_shapes(tree: Any, shardings: Any) -> Any:
    """Return the shapes of what one device holds of a tree.

    Args:
        tree: arrays, or their shapes.
        shardings: of each of them.

    Returns:
        Tree of `jax.ShapeDtypeStruct`.

    >>> import jax.numpy as jnp
    >>> w, mesh = jnp.ones((8, 64)), AbstractMesh((8,), ("data",))
    >>> print(shard_shapes(w, parameter_shardings(w, mesh, smallest=1)).shape)
    (8, 8)
    """
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(
            sharding.shard_shape(leaf.shape), leaf.dtype
        ),
        tree,
        shardings,
    )


def _mirrored(state: TrainState, split: Any, whole: Any) -> Any:
    """Return the shardings of an optimizer's state, buffers as their parameters."""
    shardings = jax.tree.leaves(split)
    known = {
        (path, leaf.shape): sharding
        for (path, leaf), sharding in zip(
            _by_path(state.params), shardings, strict=True
        )
    }

    def found(path: Path, leaf: Any, otherwise: NamedSharding) -> NamedSharding:
        # The longest ending first: `b/a/w` also ends with the path of another `a/w`.
        endings = ((path[start:], leaf.shape) for start in range(len(path) + 1))
        return next((known[end] for end in endings if end in known), otherwise)

    rows = zip(_by_path(state.opt_state), jax.tree.leaves(whole), strict=True)
    leaves = [found(*path_and_leaf, default) for path_and_leaf, default in rows]
    return jax.tree.structure(state.opt_state).unflatten(leaves)


def _by_path(tree: Any) -> Iterator[tuple[Path, Any]]:
    for path, leaf in jax.tree.leaves_with_path(tree):
        yield tuple(jax.tree_util.keystr((key,), simple=True) for key in path), leaf


def _compiled(rule: Rule) -> tuple[re.Pattern[str], int | None]:
    try:
        pattern, axis = rule
        compiled = re.compile(pattern)
    except (TypeError, ValueError, re.error) as error:
        raise InputError(
            f"a sharding rule must be a regular expression and an axis; got {rule!r} "
            f"({error}): mend the rule"
        ) from error
    if axis is not None and type(axis) is not int:
        raise InputError(
            f"a sharding rule must name an axis by its number, or None; got {axis!r} "
            f"for {pattern!r}: mend the rule"
        )
    return compiled, axis


def _checked_axis(
    axis: int | None, pattern: str, name: str, shape: tuple[int, ...], devices: int
) -> int | None:
    if axis is None:
        return None
    rank = len(shape)
    if not -rank <= axis < rank or shape[axis] % devices:
        raise InputError(
            f"a sharding rule must name an axis that the devices divide; {pattern!r} "
            f"names {axis} of {name}, which has shape {list(shape)}, for {devices} "
            "devices: choose another axis, or None to leave it whole"
        )
    return axis % rank


def _default_axis(shape: tuple[int, ...], devices: int, smallest: int) -> int | None:
    size = 1
    for length in shape:
        size *= length
    possible = [axis for axis, length in enumerate(shape) if length % devices == 0]
    if size < smallest or not possible:
        return None
    return max(possible, key=lambda axis: shape[axis])


def _sharding(mesh: Mesh | AbstractMesh, axis: int | None) -> NamedSharding:
    spec = () if axis is None else (*[None] * axis, AXIS)
    return NamedSharding(mesh, PartitionSpec(*spec))


def _gathered_leaf(leaf: jax.Array, sharding: NamedSharding) -> jax.Array:
    whole = NamedSharding(sharding.mesh, PartitionSpec())

    # The transpose of a constraint is the same constraint: without a rule of its own
    # the gradient would be made whole before it is split.
    @jax.custom_vjp
    def gather(x: jax.Array) -> jax.Array:
        return jax.lax.with_sharding_constraint(x, whole)

    def forward(x: jax.Array) -> tuple[jax.Array, None]:
        return gather(x), None

    def backward(_: None, gradient: jax.Array) -> tuple[jax.Array]:
        return (jax.lax.with_sharding_constraint(gradient, sharding),)

    gather.defvjp(forward, backward)
    return gather(leaf)
