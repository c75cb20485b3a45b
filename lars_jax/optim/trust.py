"""From leaves to trust ratios: the arithmetic between `scale_by_lars` and the norms."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lars_jax.optim.layers import (
    leaf_names,
    resolve_groups,
    resolve_mesh_axes,
    resolve_stacked_axes,
)
from lars_jax.optim.masks import Mask, Params, resolve_mask
from lars_jax.optim.norms import (
    at_least_float32,
    join,
    join_shards,
    norms,
    replicated,
)
from lars_jax.optim.together import norm_vector, unstack
from lars_jax.optim.variants import Variant

Scalar = float | jax.Array
"""A number, which may be traced."""


@dataclass(frozen=True)
class Leaf:
    """One leaf of the parameters in one step."""

    weights: jax.Array
    gradient: Any
    adapted: bool
    decayed: bool
    stacked_axis: int | None
    mesh_axes: tuple[Any, ...]
    group: Any

    @property
    def frozen(self) -> bool:
        """Whether the leaf has no gradient."""
        return self.gradient is None

    @property
    def simple(self) -> bool:
        """Whether the leaf is one whole layer by itself, measured in float32."""
        plain = self.stacked_axis is None and not self.mesh_axes and self.group is None
        return plain and (self.frozen or self.wide in (np.float32, np.complex64))

    @property
    def wide(self) -> np.dtype:
        """What a step is computed in."""
        weights, gradient = self.weights.dtype, jnp.result_type(self.gradient)
        return np.promote_types(at_least_float32(weights), at_least_float32(gradient))

    def spread(self, values: jax.Array) -> jax.Array:
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
    decay_excluded: bool
    stacked_axes: Any
    axis_names: Any
    layer_groups: Any

    def leaves(self, params: Params, gradients: Any) -> list[Leaf]:
        """Return all that a step knows of each leaf, in the order of the tree."""
        weights, structure = jax.tree.flatten(params)
        found = structure.flatten_up_to(gradients)
        for name, *pair in zip(leaf_names(params), weights, found, strict=True):
            _check_gradient(name, *pair)
        stacked = resolve_stacked_axes(self.stacked_axes, params)
        adapted = jax.tree.leaves(resolve_mask(self.trust_ratio_mask, params))
        decayed = jax.tree.leaves(resolve_mask(self.weight_decay_mask, params))
        columns = zip(
            map(jnp.asarray, weights),
            found,
            adapted,
            [
                d and (a or self.decay_excluded)
                for a, d in zip(adapted, decayed, strict=True)
            ],
            stacked,
            resolve_mesh_axes(self.axis_names, params, stacked),
            resolve_groups(self.layer_groups, params),
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

    def direction(self, leaf: Leaf) -> jax.Array:
        """Return g + beta w in the wider dtype, or g where no decay is in the step."""
        if self.choices.decay == "norm":
            return jnp.asarray(leaf.gradient).astype(leaf.wide)
        return self.decayed_gradient(leaf)

    def decayed_gradient(self, leaf: Leaf) -> jax.Array:
        """Return g + beta w in the wider dtype, or g of a leaf that does not decay."""
        gradient = jnp.asarray(leaf.gradient).astype(leaf.wide)
        if not self.decays(leaf):
            return gradient
        beta = jnp.asarray(self.weight_decay, leaf.wide)
        return gradient + beta * leaf.weights.astype(leaf.wide)

    def measured(self, leaf: Leaf) -> jax.Array:
        """Return what stands for the gradient in the denominator."""
        if self.choices.denominator == "fused":
            return self.decayed_gradient(leaf)
        return jnp.asarray(leaf.gradient)

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


class Layer(NamedTuple):
    """Trust ratio of a leaf's layers, a scalar or one entry for each slice."""

    ratio: jax.Array
    measurable: jax.Array | None


class Measured(NamedTuple):
    """What a step knows of all layers.

    Attributes:
        layers: for each leaf, None where nothing was to be known.
        columns: ||w||, ||g|| and the ratio of all layers, float32 [L] each.
    """

    layers: list[Layer | None]
    columns: list[jax.Array]


def measure(
    leaves: Sequence[Leaf], rule: Rule, *, guard: bool, all_leaves: bool
) -> Measured:
    """Measure all leaves, or those that are adapted, and form their trust ratios.

    Args:
        leaves: of the whole tree.
        rule: the variant with its numbers.
        guard: keep norms in range. The check waits for all norms, so that the vectors
            of `together` then cost no further delay; without it each leaf's update
            can follow its own norms at once.
        all_leaves: measure leaves that are not adapted, too.
    """
    wanted = [
        i
        for i, leaf in enumerate(leaves)
        if not leaf.frozen and (leaf.adapted or all_leaves)
    ]
    if guard and wanted and all(leaf.simple for leaf in leaves):
        return _together(leaves, wanted, rule)
    return _apart(leaves, wanted, rule, guard)


def _together(leaves: Sequence[Leaf], wanted: list[int], rule: Rule) -> Measured:
    chosen = [leaves[i] for i in wanted]
    arrays = [partial(getattr, leaf, "weights") for leaf in chosen]
    arrays += [partial(rule.measured, leaf) for leaf in chosen]
    weight_norm, gradient_norm = jnp.split(norm_vector(arrays), 2)
    decayed = np.array([rule.decays(leaf) for leaf in chosen])
    decayed_norm = jnp.where(decayed, weight_norm, 0.0)
    ratio, measurable = rule.trust_ratio(weight_norm, decayed_norm, gradient_norm)
    ratio = jnp.where(np.array([leaf.adapted for leaf in chosen]), ratio, 1.0)
    layers: list[Layer | None] = [None] * len(leaves)
    flags: list[Any] = [None] * len(chosen)
    if rule.choices.zero_norm == "undecayed":
        flags = [flag > 0 for flag in unstack(measurable.astype(np.float32))]
    for i, *fields in zip(wanted, unstack(ratio), flags, strict=True):
        layers[i] = Layer(*fields)
    columns = [weight_norm, gradient_norm, ratio]
    if len(wanted) < len(leaves):
        empty = jnp.zeros(len(leaves), jnp.float32)
        columns = [empty.at[np.array(wanted)].set(column) for column in columns]
    return Measured(layers, columns)


def _apart(
    leaves: Sequence[Leaf], wanted: list[int], rule: Rule, guard: bool
) -> Measured:
    arrays = [partial(getattr, leaves[i], "weights") for i in wanted]
    arrays += [partial(rule.measured, leaves[i]) for i in wanted]
    stacked = [leaves[i].stacked_axis for i in wanted] * 2
    mesh_axes = [leaves[i].mesh_axes for i in wanted] * 2
    found = join_shards(norms(arrays, stacked, scaled=guard), mesh_axes)
    found = [_same_dtype(*pair) for pair in _halves(found)]
    layers: list[Layer | None] = [None] * len(leaves)
    rows = [
        [jnp.zeros(num_layers(leaf.weights, leaf.stacked_axis), jnp.float32)] * 3
        for leaf in leaves
    ]
    for members in _groups([leaves[i] for i in wanted]):
        inside = [leaves[wanted[k]] for k in members]
        norms_of, layer = _layer(inside, [found[k] for k in members], rule)
        row = [jnp.atleast_1d(replicated(v)) for v in (*norms_of, layer.ratio)]
        for k in members:
            layers[wanted[k]] = layer
            rows[wanted[k]] = [value.astype(jnp.float32) for value in row]
    if not rows:
        return Measured(layers, [jnp.zeros(0, jnp.float32)] * 3)
    return Measured(
        layers, [jnp.concatenate(column) for column in zip(*rows, strict=True)]
    )


def _layer(
    members: Sequence[Leaf], pairs: Sequence[tuple[jax.Array, jax.Array]], rule: Rule
) -> tuple[tuple[jax.Array, jax.Array], Layer]:
    """Return the norms of a layer of one leaf or several, and its ratio."""
    if len({weight_norm.shape for weight_norm, _ in pairs}) > 1:
        shapes = [leaf.weights.shape for leaf in members]
        raise ValueError(
            f"leaves of one layer group must stack the same number of layers; group "
            f"{members[0].group!r} has leaves of shapes {shapes}: give each its label"
        )
    weight_norm = join([pair[0] for pair in pairs])
    gradient_norm = join([pair[1] for pair in pairs])
    if not members[0].adapted:
        one = jnp.ones_like(weight_norm)
        return (weight_norm, gradient_norm), Layer(one, one.astype(bool))
    decayed = [
        pair[0] for pair, leaf in zip(pairs, members, strict=True) if rule.decays(leaf)
    ]
    decayed_norm = join(decayed) if decayed else jnp.zeros_like(weight_norm)
    ratio = rule.trust_ratio(weight_norm, decayed_norm, gradient_norm)
    return (weight_norm, gradient_norm), Layer(*ratio)


def _groups(leaves: Sequence[Leaf]) -> list[list[int]]:
    """Return the positions of the leaves of each layer; a leaf by itself is one."""
    groups: dict[Any, list[int]] = {}
    for position, leaf in enumerate(leaves):
        alone = leaf.group is None or not leaf.adapted
        label = ("leaf", position) if alone else ("group", leaf.group)
        groups.setdefault(label, []).append(position)
    return list(groups.values())


def direction(leaf: Leaf, layer: Layer | None, rule: Rule) -> Any:
    """Return what the trust ratio multiplies, None for a leaf without gradient."""
    if leaf.frozen:
        return None
    decayed = rule.direction(leaf)
    if rule.choices.zero_norm != "undecayed" or layer is None or not leaf.adapted:
        return decayed
    gradient = jnp.asarray(leaf.gradient).astype(leaf.wide)
    return jnp.where(leaf.spread(jnp.asarray(layer.measurable)), decayed, gradient)


def scaled(leaf: Leaf, direction: Any, layer: Layer | None) -> Any:
    """Return lambda times the direction."""
    if leaf.frozen or layer is None or not leaf.adapted:
        return direction
    return leaf.spread(layer.ratio).astype(direction.dtype) * direction


def _halves(values: Sequence[jax.Array]) -> list[tuple[jax.Array, jax.Array]]:
    middle = len(values) // 2
    return list(zip(values[:middle], values[middle:], strict=True))


def _same_dtype(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    real = np.promote_types(a.dtype, b.dtype)
    return a.astype(real), b.astype(real)


def num_layers(leaf: Any, stacked_axis: int | None) -> int:
    """Return how many layers a leaf holds."""
    return 1 if stacked_axis is None else jnp.shape(leaf)[stacked_axis]
