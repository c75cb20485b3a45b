"""Where each array of a training state lies: whole on every device, or split.

ZeRO-1 (https://arxiv.org/abs/1910.02054) splits the buffers of the optimizer over the
devices, FSDP (ZeRO-3) the parameters as well. Under `jit` both are placements and
nothing else: arrays stay global, and so a norm is that of the whole array, for which
the compiler sums the squares of the shards. What is stated here beside the placement is
where parameters are made whole, because the compiler, left to choose, may move
activations instead.
"""

import math
from typing import Any, Literal, get_args

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from lars_jax.errors import InputError
from lars_jax.train.parallel import AXIS
from lars_jax.train.state import ModelState, Params, TrainState
from lars_jax.train.update import Batch, LossFn

StateSharding = Literal["none", "zero1", "fsdp"]

SMALLEST = 4096
"""Entries from which a parameter is split.

Biases and the parameters of normalisation have fewer; gathering such a leaf costs more
than its bytes are worth.
"""


def state_shardings(
    state: TrainState,
    mesh: Mesh | AbstractMesh,
    kind: StateSharding,
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
        smallest: entries from which a leaf is split.

    Returns:
        A state with a `NamedSharding` in the place of every array.

    Raises:
        InputError: an unknown kind, or a mesh without the axis `data`.

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
    split = parameter_shardings(state.params, mesh, smallest=smallest)
    whole = whole._replace(opt_state=_mirrored(state, split, whole.opt_state))
    return whole._replace(params=split) if kind == "fsdp" else whole


def parameter_shardings(
    params: Params, mesh: Mesh | AbstractMesh, *, smallest: int = SMALLEST
) -> Any:
    """Return the sharding of every parameter, each split along one axis at most.

    That is the largest axis that the devices divide, the first of these where several
    are largest.

    Args:
        params: tree of arrays or of `jax.ShapeDtypeStruct`.
        mesh: as `data_mesh` makes it, of N devices.
        smallest: entries from which a parameter is split.

    Returns:
        Tree of `NamedSharding`, in the structure of `params`.

    Raises:
        InputError: the mesh has no axis `data`.

    >>> import jax.numpy as jnp
    >>> params = {"kernel": jnp.ones((8, 16)), "bias": jnp.ones(16)}
    >>> mesh = AbstractMesh((8,), ("data",))
    >>> found = parameter_shardings(params, mesh, smallest=100)
    >>> found["kernel"].shard_shape((8, 16)), found["bias"].shard_shape((16,))
    ((8, 2), (16,))
    """
    if AXIS not in mesh.shape:
        raise InputError(
            f"a state is split over the mesh axis {AXIS!r}; got a mesh of the axes "
            f"{mesh.axis_names}: make it with data_mesh"
        )
    devices = mesh.shape[AXIS]

    def place(leaf: Any) -> NamedSharding:
        possible = [a for a, length in enumerate(leaf.shape) if length % devices == 0]
        if math.prod(leaf.shape) < smallest or not possible:
            return NamedSharding(mesh, PartitionSpec())
        axis = max(possible, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))

    return jax.tree.map(place, params)


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
    >>> shardings = parameter_shardings(params, data_mesh(1), smallest=1)
    >>> loss, _ = gathered(loss_fn, shardings)(params, {}, {}, jax.random.key(0))
    >>> print(loss)
    25.0
    """
    leaf_shardings = jax.tree.leaves(shardings)
    whole = NamedSharding(leaf_shardings[0].mesh, PartitionSpec())

    # The transpose of a constraint is the same constraint: without a rule of its own
    # the gradient would be made whole before it is split.
    @jax.custom_vjp
    def gather(params: Params) -> Params:
        return jax.lax.with_sharding_constraint(params, whole)

    gather.defvjp(
        lambda params: (gather(params), None),
        lambda _, gradient: (jax.lax.with_sharding_constraint(gradient, shardings),),
    )

    def whole_loss_fn(
        params: Params, model_state: ModelState, batch: Batch, key: jax.Array
    ) -> Any:
        return loss_fn(gather(params), model_state, batch, key)

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
    params = jax.tree.leaves_with_path(state.params)
    known = {
        (path, leaf.shape): sharding
        for (path, leaf), sharding in zip(params, jax.tree.leaves(split), strict=True)
    }

    def found(path: tuple[Any, ...], leaf: Any, otherwise: NamedSharding) -> Any:
        endings = ((path[start:], leaf.shape) for start in range(len(path) + 1))
        return next((known[end] for end in endings if end in known), otherwise)

    return jax.tree.map_with_path(found, state.opt_state, whole)
