"""What a layer is: a leaf, a slice of a leaf, a shard of one, or several leaves.

By default a layer is a leaf of the parameter tree. `nn.scan` and ensembles stack many
layers in one leaf, `shard_map` leaves a device with a part of one, and a kernel with
its bias may be meant as one. Each is told by a tree, a prefix of one, or a function.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

Params = Any


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
    names = []
    axes = resolve_stacked_axes(stacked_axes, params)
    leaves = jax.tree.leaves(params)
    for name, leaf, axis in zip(leaf_names(params), leaves, axes, strict=True):
        if axis is None:
            names.append(name)
        else:
            names += [f"{name}[{i}]" for i in range(jnp.shape(leaf)[axis])]
    return tuple(names)


def group_by_module(params: Params) -> Any:
    """Return labels that make one layer of the leaves of each module.

    The label is the path without its last component, so that a kernel and its bias
    share a trust ratio.

    >>> group_by_module({"conv1": {"kernel": 1.0, "bias": 0.0}})
    {'conv1': {'bias': 'conv1', 'kernel': 'conv1'}}
    """
    return jax.tree.map_with_path(lambda path, _: path_name(path[:-1]), params)


def resolve_stacked_axes(axes: Any, params: Params) -> list[int | None]:
    """Return for each leaf the axis that counts layers, or None.

    Args:
        axes: an axis, None, a tree or prefix of these, or a function of the parameters.
        params: tree of arrays or of `jax.ShapeDtypeStruct`.

    Raises:
        ValueError: a leaf has no such axis.

    >>> resolve_stacked_axes({"a": -1, "b": None}, {"a": jnp.ones((3, 2)), "b": 1.0})
    [1, None]
    """
    found: list[int | None] = []
    spread = _spread(axes, params, _is_axis)
    for name, leaf, axis in zip(
        leaf_names(params), jax.tree.leaves(params), spread, strict=True
    ):
        rank = jnp.ndim(leaf)
        if axis is not None and not -rank <= axis < rank:
            raise ValueError(
                f"a stacked axis must be an axis of its leaf; got {axis} for {name!r} "
                f"of shape {jnp.shape(leaf)}: give None for leaves that are one layer"
            )
        found.append(None if axis is None else axis % rank)
    return found


def resolve_mesh_axes(
    axes: Any, params: Params, stacked_axes: Sequence[int | None]
) -> list[tuple[Any, ...]]:
    """Return for each leaf the mesh axes over which its layers are split.

    Args:
        axes: a name, a tuple of names, a `PartitionSpec`, None, a tree or prefix of
            these, or a function of the parameters. Of a `PartitionSpec` the entry that
            splits the stacked axis is left out, since it splits no layer.
        params: the parameters.
        stacked_axes: as `resolve_stacked_axes` returns them.

    >>> resolve_mesh_axes(jax.P("x", "y"), jnp.ones((2, 2)), [0])
    [('y',)]
    """
    return [
        _mesh_axes(spec, stacked)
        for spec, stacked in zip(
            _spread(axes, params, _is_mesh_axes), stacked_axes, strict=True
        )
    ]


def resolve_groups(groups: Any, params: Params) -> list[Any]:
    """Return for each leaf the label of its group, or None where it stands alone.

    Args:
        groups: a tree or prefix of labels, None, or a function of the parameters.
        params: the parameters.

    >>> resolve_groups(group_by_module, {"fc": {"kernel": 1.0, "bias": 0.0}})
    ['fc', 'fc']
    """
    return _spread(groups, params, lambda label: label is None)


def _is_axis(spec: Any) -> bool:
    return spec is None


def _is_mesh_axes(spec: Any) -> bool:
    names = isinstance(spec, tuple) and all(isinstance(name, str) for name in spec)
    return spec is None or isinstance(spec, jax.P) or (names and bool(spec))


def _mesh_axes(spec: Any, stacked_axis: int | None) -> tuple[Any, ...]:
    if isinstance(spec, jax.P):
        entries = [entry for i, entry in enumerate(spec) if i != stacked_axis]
    else:
        entries = [spec]
    return tuple(
        name
        for entry in entries
        if entry is not None
        for name in (entry if isinstance(entry, tuple) else (entry,))
    )


def _spread(
    value: Any | Callable[[Params], Any], tree: Params, is_leaf: Callable[[Any], bool]
) -> list[Any]:
    """Return one value for each leaf of `tree` from a tree prefix of values."""
    # Optax initialises with an empty stand-in for the parameters to learn which parts
    # of a state are like them; no prefix of the real tree fits it.
    if not jax.tree.leaves(tree):
        return []
    if callable(value):
        value = value(tree)
    spread: list[Any] = []
    jax.tree.map(
        lambda entry, subtree: spread.extend([entry] * len(jax.tree.leaves(subtree))),
        value,
        tree,
        is_leaf=is_leaf,
    )
    return spread
