"""What a layer is: a leaf, a slice of a leaf, a shard of one, or several leaves.

By default a layer is a leaf of the parameter tree. `nn.scan` and ensembles stack many
layers in one leaf, `shard_map` leaves a device with a part of one, and a kernel with
its bias may be meant as one. Each is told by a tree, a prefix of one, or a function.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeGuard

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

Params = Any


class LayerNames(tuple[str, ...]):
    """Names of layers, as the static part of a state.

    No names equal any: `optax.tree.map_params` compares a state with that of a stand-in
    without leaves, and whatever of the two is not like the parameters has to agree.
    """

    def __eq__(self, other: object) -> bool:
        return not self or not other or tuple.__eq__(self, other) is True

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return 0


@partial(
    jax.tree_util.register_dataclass, data_fields=["vector"], meta_fields=["names"]
)
@dataclass(frozen=True, repr=False)
class PerLayer(Mapping[str, jax.Array]):
    """One number for each layer, read by the layer's name.

    One vector inside and not a scalar for each name, because hundreds of scalars cost
    a step more to hand over than to compute.

    Attributes:
        vector: float32 [L], or [..., L] where a state was mapped over.
        names: of the L layers.

    >>> ratio = PerLayer(jnp.array([1.0, 0.5]), LayerNames(("bias", "kernel")))
    >>> print(ratio, ratio["kernel"])
    bias: 1., kernel: 0.5 0.5
    """

    vector: jax.Array
    names: LayerNames

    def __getitem__(self, name: str) -> jax.Array:
        if name not in self.names:
            raise KeyError(name)
        return self.vector[..., self.names.index(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.vector, dtype, copy=copy)

    def __repr__(self) -> str:
        if not isinstance(self.vector, np.ndarray | jax.Array) or isinstance(
            self.vector, jax.core.Tracer
        ):
            return f"PerLayer({self.vector!r})"
        columns = np.moveaxis(np.asarray(self), -1, 0)
        rows = zip(self.names, columns, strict=False)
        return ", ".join(f"{name}: {np.array2string(x)}" for name, x in rows)


def register_with_flax() -> None:
    """Let `flax.serialization` take a `PerLayer` by its vector, if flax is loaded.

    Flax knows the kinds of nodes it has been told of, and JAX's own registry is not
    among its sources. Who has not imported it need not load it for this.
    """
    serialization = sys.modules.get("flax.serialization")
    if serialization is None:
        return
    with contextlib.suppress(ValueError):  # It has been told already.
        serialization.register_serialization_state(
            PerLayer,
            lambda per_layer: {"vector": per_layer.vector},
            lambda per_layer, state: replace(per_layer, vector=state["vector"]),
        )


def path_name(path: tuple[Any, ...]) -> str:
    """Return the slash-joined name of a key path of `jax.tree_util`.

    >>> import jax
    >>> [(path, _)] = jax.tree.leaves_with_path({"conv1": {"kernel": 1.0}})
    >>> path_name(path)
    'conv1/kernel'
    """
    return jax.tree_util.keystr(path, simple=True, separator="/")


def leaf_names(tree: Params) -> tuple[str, ...]:
    """Return the path names of a tree's leaves, in the tree's order.

    >>> leaf_names({"fc": {"kernel": 1.0, "bias": 2.0}})
    ('fc/bias', 'fc/kernel')
    """
    return tuple(path_name(path) for path, _ in jax.tree.leaves_with_path(tree))


def layer_names(params: Params, stacked_axes: Any = None) -> tuple[str, ...]:
    """Return the name of every layer, in the order of the rows of `layer_norms`.

    >>> import jax.numpy as jnp
    >>> params = {"block": jnp.ones((2, 3)), "fc": jnp.ones(3)}
    >>> layer_names(params, {"block": 0, "fc": None})
    ('block[0]', 'block[1]', 'fc')
    """
    names: list[str] = []
    axes = resolve_stacked_axes(stacked_axes, params)
    leaves = jax.tree.leaves(params)
    for name, leaf, axis in zip(leaf_names(params), leaves, axes, strict=True):
        if axis is None:
            names.append(name)
        else:
            names += [f"{name}[{i}]" for i in range(num_layers(leaf, axis))]
    return tuple(names)


def num_layers(leaf: Any, stacked_axis: int | None) -> int:
    """Return how many layers a leaf holds."""
    return 1 if stacked_axis is None else jnp.shape(leaf)[stacked_axis]


def layer_slices(counts: Sequence[int]) -> list[slice]:
    """Return where the layers of each leaf are in a vector of all layers."""
    starts = np.cumsum([0, *counts]).tolist()
    return list(map(slice, starts, starts[1:]))


def group_by_module(params: Params) -> Any:
    """Return labels that make one layer of the leaves of each module.

    The label is the path without its last component, so that a kernel and its bias
    share a trust ratio.

    >>> group_by_module({"conv1": {"kernel": 1.0, "bias": 0.0}})
    {'conv1': {'bias': 'conv1', 'kernel': 'conv1'}}
    """
    refuse_step_count(params)
    return jax.tree.map_with_path(lambda path, _: path_name(path[:-1]), params)


def is_function(value: Any) -> TypeGuard[Callable[[Params], Any]]:
    """Return whether a value is a function of the parameters, and no tree of values.

    A module of Equinox is a tree and can be called, too.
    """
    return callable(value) and jax.tree_util.all_leaves([value])


def refuse_step_count(params: Params) -> None:
    """Refuse to answer for a step, as a schedule would.

    `optax.inject_hyperparams` calls every function with the step count, those of the
    parameters too where `static_args` does not name them.
    """
    leaves = jax.tree.leaves(params)
    bare = len(leaves) == 1 and leaves[0] is params
    if bare and jnp.issubdtype(jnp.result_type(params), jnp.integer):
        raise ValueError(
            "a function of the parameters must be called with parameters; got one "
            f"integer, as schedules do: {PASS_STATIC}"
        )


PASS_STATIC = (
    "pass static_args=lars_jax.STATIC_ARGUMENTS to optax.inject_hyperparams, of these "
    "those that the function takes"
)


def require_static(**arguments: Any) -> None:
    """Refuse arrays for what must be known before a step is compiled.

    `optax.inject_hyperparams` makes arrays of ints, and calls functions as schedules.
    """
    for name, value in arguments.items():
        arrays = [x for x in jax.tree.leaves(value) if isinstance(x, jax.Array)]
        if arrays:
            raise ValueError(
                f"{name} must be known before a step is compiled; got an array of "
                f"{arrays[0].dtype}: {PASS_STATIC}"
            )


def resolve_stacked_axes(axes: Any, params: Params) -> list[int | None]:
    """Return for each leaf the axis that counts layers, or None."""
    found: list[int | None] = []
    each = broadcast_prefix("stacked_axes", axes, params)
    for name, leaf, axis in zip(
        leaf_names(params), jax.tree.leaves(params), each, strict=True
    ):
        rank = jnp.ndim(leaf)
        # True and 0.0 are in a range, too.
        odd = isinstance(axis, bool | float) or axis not in range(-rank, rank)
        if axis is not None and odd:
            raise ValueError(
                f"a stacked axis must be an axis of its leaf; got {axis!r} for "
                f"{name!r} of shape {jnp.shape(leaf)}: give None for leaves that are "
                "one layer"
            )
        found.append(None if axis is None else int(axis) % rank)
    return found


def resolve_mesh_axes(
    axes: Any, params: Params, stacked_axes: Sequence[int | None]
) -> list[tuple[Any, ...]]:
    """Return for each leaf the mesh axes over which its layers are split.

    The entry of a `PartitionSpec` that splits the stacked axis splits no layer.

    >>> resolve_mesh_axes(jax.P("x", "y"), jnp.ones((2, 2)), [0])
    [('y',)]
    """
    found: list[tuple[Any, ...]] = []
    specs = broadcast_prefix("axis_names", axes, params, _is_mesh_axes)
    for spec, stacked in zip(specs, stacked_axes, strict=True):
        entries = [spec]
        if isinstance(spec, jax.P):
            entries = [entry for i, entry in enumerate(spec) if i != stacked]
        names = [x if isinstance(x, tuple) else (x,) for x in entries if x is not None]
        found.append(sum(names, ()))
        if not all(isinstance(name, str) for name in found[-1]):
            raise ValueError(
                f"axis_names must be names of mesh axes; got {spec!r}: pass those of "
                "shard_map or pmap"
            )
    return found


def _is_mesh_axes(spec: Any) -> bool:
    names = isinstance(spec, tuple) and all(isinstance(name, str) for name in spec)
    return spec is None or isinstance(spec, jax.P) or names


def broadcast_prefix(
    name: str,
    value: Any | Callable[[Params], Any],
    tree: Params,
    is_leaf: Callable[[Any], bool] = lambda entry: entry is None,
) -> list[Any]:
    """Return one value for each leaf of `tree` from a prefix or a function of it.

    `is_leaf` tells what in a prefix is a value, where that may be a tree. Errors call
    it `name`.
    """
    structure = jax.tree.structure(tree)
    # Optax initialises with an empty stand-in for the parameters to learn which parts
    # of a state are like them; no prefix of the real tree fits it.
    if not structure.num_leaves:
        return []
    values = value(tree) if is_function(value) else value
    try:
        return structure.flatten_up_to(jax.tree.broadcast(values, tree, is_leaf))
    except ValueError as error:
        raise ValueError(
            f"{name} must be one value, or a tree with the keys of the parameters, "
            f"whole or cut short; got {_misfit(values, tree, is_leaf)}: name all of "
            "them and no others"
        ) from error


def _misfit(values: Any, tree: Params, is_leaf: Callable[[Any], bool]) -> str:
    """Return in words where a tree of values is no prefix of another."""
    given = [path for path, _ in jax.tree.leaves_with_path(values, is_leaf=is_leaf)]
    wanted = [path for path, _ in jax.tree.leaves_with_path(tree)]
    for path in given:
        if not any(other[: len(path)] == path for other in wanted):
            return f"a value at {jax.tree_util.keystr(path)}, where no parameter is"
    for path in wanted:
        if not any(path[: len(other)] == other for other in given):
            return f"no value for {jax.tree_util.keystr(path)}"
    return f"{jax.tree.structure(values)} for {jax.tree.structure(tree)}"
