"""From leaves to trust ratios: the arithmetic between `scale_by_lars` and the norms."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lars_jax.optim.layers import (
    LayerNames,
    Params,
    broadcast_prefix,
    layer_names,
    layer_slices,
    leaf_names,
    num_layers,
    require_static,
    resolve_mesh_axes,
    resolve_stacked_axes,
)
from lars_jax.optim.masks import Mask, resolve_mask
from lars_jax.optim.norms import (
    at_least_float32,
    norms,
    sums_of_squares,
    unstack,
)
from lars_jax.optim.numbers import Scalar
from lars_jax.optim.variants import Variant

LARGEST_RATIO = 2.0**96
"""That of a gradient of nearly nothing: times any rate it is still a float."""


@dataclass(frozen=True)
class Leaf:
    """One leaf of the parameters in one step; a frozen one has no gradient."""

    weights: jax.Array
    gradient: Any
    adapted: bool
    decayed: bool
    stacked_axis: int | None
    mesh_axes: tuple[Any, ...]
    group: Any

    @property
    def wide(self) -> np.dtype:
        """What a step is computed in."""
        dtypes = self.weights.dtype, self.gradient.dtype
        return np.promote_types(*map(at_least_float32, dtypes))

    @property
    def layers(self) -> int:
        """How many layers the leaf holds."""
        return num_layers(self.weights, self.stacked_axis)

    def broadcast_to_leaf(self, values: jax.Array) -> jax.Array:
        """Return one value for each layer in a shape that broadcasts over the leaf."""
        if self.stacked_axis is None:
            return values
        axes = range(self.weights.ndim)
        return jnp.expand_dims(values, [i for i in axes if i != self.stacked_axis])


@dataclass(frozen=True)
class Selection:
    """Which leaves are adapted and decayed, and what in them is a layer."""

    trust_ratio_mask: Mask
    weight_decay_mask: Mask
    stacked_axes: Any
    axis_names: Any
    layer_groups: Any

    def __post_init__(self) -> None:
        require_static(**vars(self))

    def names(self, params: Params) -> LayerNames:
        """Return the name of every layer."""
        return LayerNames(layer_names(params, self.stacked_axes))

    def leaves(self, params: Params, gradients: Any) -> list[Leaf]:
        """Return all that a step knows of each leaf, in the order of the tree."""
        weights, structure = jax.tree.flatten(params)
        found = structure.flatten_up_to(gradients)
        for name, *pair in zip(leaf_names(params), weights, found, strict=True):
            _check_gradient(name, *pair)
        stacked = resolve_stacked_axes(self.stacked_axes, params)

        def mask(name: str) -> list[bool]:
            return jax.tree.leaves(resolve_mask(getattr(self, name), params, name=name))

        columns = zip(
            map(jnp.asarray, weights),
            (None if g is None else jnp.asarray(g) for g in found),
            mask("trust_ratio_mask"),
            mask("weight_decay_mask"),
            stacked,
            resolve_mesh_axes(self.axis_names, params, stacked),
            broadcast_prefix("layer_groups", self.layer_groups, params),
            strict=True,
        )
        return [Leaf(*fields) for fields in columns]


def _check_gradient(name: str, weights: Any, gradient: Any) -> None:
    if gradient is None:
        return
    dtype, shape = jnp.result_type(gradient), jnp.shape(gradient)
    if not jnp.issubdtype(dtype, jnp.inexact) or shape != jnp.shape(weights):
        raise ValueError(
            "a gradient must be floating or complex and have the shape of its "
            f"parameter; got {dtype}{list(shape)} for {list(jnp.shape(weights))} at "
            f"{name or 'the root'!r}: pass what jax.grad returns"
        )


@dataclass(frozen=True)
class Rule:
    """A variant with its numbers; `rate` is the global rate of this step."""

    choices: Variant
    trust_coefficient: Scalar
    weight_decay: Scalar
    eps: Scalar
    rate: Any

    def decays(self, leaf: Leaf) -> bool:
        """Return whether the leaf decays; a weight decay of plain 0 costs nothing."""
        none = isinstance(self.weight_decay, int | float) and self.weight_decay == 0
        return leaf.decayed and not none

    def decayed_gradient(self, leaf: Leaf) -> jax.Array:
        """Return g + beta w in the wider dtype, or g of a leaf that does not decay."""
        gradient = leaf.gradient.astype(leaf.wide)
        if not self.decays(leaf):
            return gradient
        beta = jnp.asarray(self.weight_decay, leaf.wide)
        return gradient + beta * leaf.weights.astype(leaf.wide)

    def measured(self, leaf: Leaf) -> jax.Array:
        """Return what stands for the gradient in the denominator."""
        fused = self.choices.denominator == "fused"
        return self.decayed_gradient(leaf) if fused else leaf.gradient

    def direction(self, leaf: Leaf, quotient: jax.Array | None) -> Any:
        """Return what the trust ratio multiplies, None for a leaf without gradient."""
        if leaf.gradient is None:
            return None
        if self.choices.decay == "norm":
            return leaf.gradient.astype(leaf.wide)
        decayed = self.decayed_gradient(leaf)
        if quotient is None or not leaf.adapted:
            return decayed
        plain = leaf.gradient.astype(leaf.wide)
        return jnp.where(leaf.broadcast_to_leaf(quotient), decayed, plain)

    def trust_ratio(
        self, weight_norm: jax.Array, decayed_norm: jax.Array, gradient_norm: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return lambda, and where both norms are positive so that it is a quotient."""
        real = weight_norm.dtype
        eta = jnp.asarray(self.trust_coefficient, real)
        eps = self.eps + self.choices.eps
        # Unequal to zero and not above it, so that a NaN stays one for the whole layer.
        measurable = (weight_norm != 0) & (gradient_norm != 0)
        denominator = gradient_norm + jnp.asarray(eps, real)
        if self.choices.denominator == "split":
            denominator += jnp.asarray(self.weight_decay, real) * decayed_norm
        # Dividing by one where the branch is not taken keeps gradients through an
        # update with a zero leaf from becoming NaN.
        quotient = eta * (weight_norm / jnp.where(measurable, denominator, 1.0))
        quotient = jnp.minimum(quotient, LARGEST_RATIO)
        # Infinite, but not NaN: `maximum` hands that on.
        too_large = jnp.isinf(jnp.maximum(weight_norm, gradient_norm))
        quotient = jnp.where(too_large, 0.0, quotient)
        neutral = eta if self.choices.zero_norm == "coefficient" else 1.0
        ratio = jnp.where(measurable, quotient, neutral)
        if not self.choices.clip:
            return ratio, measurable
        rate = jnp.asarray(self.rate, real)
        # At rate zero, as a warm-up may start, lambda / gamma is infinite.
        clipped = jnp.minimum(ratio, rate) / jnp.where(rate > 0, rate, 1.0)
        clipped = jnp.where(rate > 0, clipped, 1.0)
        if self.choices.zero_norm == "undecayed":
            clipped = jnp.where(measurable, clipped, 1.0)
        return clipped, measurable


class Measured(NamedTuple):
    """What a step knows of all layers."""

    factors: list[jax.Array | None]
    """Of each leaf: ratio times factor, a scalar or [S]; None if not measured."""
    quotients: list[jax.Array | None]
    """Of each leaf: where the ratio is a quotient; None if the variant does not ask."""
    columns: list[jax.Array]
    """||w||, ||g|| and the ratio of all layers, float32 [L] each."""


def measure(
    leaves: Sequence[Leaf], rule: Rule, *, factor: Any, all_leaves: bool
) -> Measured:
    """Measure all leaves, or those that are adapted, and form their trust ratios."""
    factors: list[Any] = [None] * len(leaves)
    quotients: list[Any] = [None] * len(leaves)
    columns: list[list[jax.Array]] = [[], [], []]
    order: list[int] = []
    for members in _vectors(leaves, all_leaves):
        inside = [leaves[i] for i in members]
        weight_norm, decayed_norm, gradient_norm = _norms(inside, rule)
        ratio, divided = rule.trust_ratio(weight_norm, decayed_norm, gradient_norm)
        adapted = np.repeat([x.adapted for x in inside], [x.layers for x in inside])
        ratio = jnp.where(adapted, ratio, 1.0)
        products = _by_leaf(jnp.asarray(factor, ratio.dtype) * ratio, inside)
        for i, value in zip(members, products, strict=True):
            factors[i] = value
        if rule.choices.zero_norm == "undecayed":
            flags = _by_leaf(divided.astype(np.float32), inside)
            for i, flag in zip(members, flags, strict=True):
                quotients[i] = flag > 0
        known = weight_norm, gradient_norm, ratio
        for column, vector in zip(columns, known, strict=True):
            column.append(vector.astype(jnp.float32))
        order += members
    return Measured(factors, quotients, [_in_order(x, order, leaves) for x in columns])


def _vectors(leaves: Sequence[Leaf], all_leaves: bool) -> list[list[int]]:
    """Return positions of measured leaves, those that make one vector together.

    All that are not stacked do. The layers of a stacked leaf may be split between the
    devices of `shard_map`, whose checks would then take every entry of a vector that
    they share for one that differs between devices.
    """
    vectors: dict[Any, dict[Any, list[int]]] = {}
    groups: dict[Any, list[Leaf]] = {}
    for i, leaf in enumerate(leaves):
        if leaf.gradient is not None and (leaf.adapted or all_leaves):
            key = None if leaf.stacked_axis is None else _layer(leaf, i)
            vectors.setdefault(key, {}).setdefault(leaf.mesh_axes, []).append(i)
            groups.setdefault(_layer(leaf, i), []).append(leaf)
    for members in groups.values():
        if len({(leaf.stacked_axis is None, leaf.layers) for leaf in members}) > 1:
            raise ValueError(
                "leaves of one layer group must stack the same number of layers; got "
                f"shapes {[leaf.weights.shape for leaf in members]} in group "
                f"{members[0].group!r}: give each its label"
            )
    return [sum(by_axes.values(), []) for by_axes in vectors.values()]


def _layer(leaf: Leaf, position: int) -> Any:
    """Return what the leaves of one layer have in common, which may be one leaf."""
    alone = leaf.group is None or not leaf.adapted
    return ("leaf", position) if alone else ("group", leaf.group)


def _norms(leaves: Sequence[Leaf], rule: Rule) -> jax.Array:
    """Return ||w||, that of what decays in it, and ||g|| of layers, float [3, L]."""
    real = np.result_type(*(jnp.finfo(leaf.wide).dtype for leaf in leaves))
    parts: list[jax.Array] = []
    scales: Any = None
    for axes, found in groupby(leaves, lambda leaf: leaf.mesh_axes):
        members = list(found)
        pairs = [(leaf.weights, rule.measured(leaf)) for leaf in members]
        stacked_axes = [leaf.stacked_axis for leaf in members]
        totals, scales = sums_of_squares(pairs, stacked_axes, real)
        parts.append(jax.lax.psum(totals, axes) if axes else totals)
    totals = jnp.concatenate(parts, axis=-1)
    decays = np.repeat([rule.decays(x) for x in leaves], [x.layers for x in leaves])
    weights, gradients = totals[:, :1], totals[:, 1:]
    decayed = jnp.where(decays[None, None], weights, 0.0)
    totals = jnp.concatenate([weights, decayed, gradients], axis=1)
    partners = _partners(leaves)
    if partners.shape[1] > 1:
        none = jnp.zeros((*totals.shape[:-1], 1), real)
        totals = jnp.concatenate([totals, none], axis=-1)[..., partners].sum(axis=-1)
    return norms(totals, scales)


def _partners(leaves: Sequence[Leaf]) -> np.ndarray:
    """Return for each of L layers the layers of its group, [L, M], L where none is."""
    groups: dict[Any, list[int]] = {}
    for position, leaf in enumerate(leaves):
        groups.setdefault(_layer(leaf, position), []).append(position)
    layers = layer_slices([leaf.layers for leaf in leaves])
    numbers = np.arange(layers[-1].stop)
    partners = np.full((len(numbers), max(map(len, groups.values()))), len(numbers))
    for members in groups.values():
        rows = np.stack([numbers[layers[i]] for i in members], axis=-1)
        for i in members:
            partners[layers[i], : len(members)] = rows
    return partners


def _by_leaf(vector: jax.Array, leaves: Sequence[Leaf]) -> list[jax.Array]:
    """Return the entries of each leaf's layers, a scalar where nothing is stacked."""
    # None is stacked, or all are.
    if leaves[0].stacked_axis is None:
        return unstack(vector)
    return [vector[own] for own in layer_slices([leaf.layers for leaf in leaves])]


def _in_order(
    parts: Sequence[jax.Array], order: Sequence[int], leaves: Sequence[Leaf]
) -> jax.Array:
    """Return a column of all layers in the order of the tree, 0 for those left out."""
    layers = layer_slices([leaf.layers for leaf in leaves])
    numbers = np.arange(layers[-1].stop if layers else 0)
    found = np.concatenate([numbers[:0], *(numbers[layers[i]] for i in order)])
    place = np.full(len(numbers), -1)
    place[found] = np.arange(len(found))
    return jnp.concatenate([*parts, jnp.zeros(1, jnp.float32)])[place]
