"""Choose parameters by regular expressions over their paths.

A parameter's path is the keys that lead to it, joined by slashes: `conv1/kernel`. The
same spelling comes out of Flax, Equinox and plain dictionaries, and it is what tables,
plots and error messages of this package call a layer's parameter.
"""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lars_jax.optim.layers import (
    Params,
    broadcast_prefix,
    leaf_names,
    refuse_step_count,
    resolve_stacked_axes,
)

Mask = bool | None | Any | Callable[[Params], Any]

BIAS_AND_NORM = r"(^|/)(bias|scale)$"
"""Biases, and the scales of normalisation layers, as Flax names them."""


def path_mask(*patterns: str) -> Callable[[Params], Any]:
    """Return a mask function: True where any pattern is found in the path.

    Args:
        *patterns: regular expressions, searched for anywhere in the path.

    Returns:
        A function from parameters to a tree of bools of the same structure.

    Raises:
        ValueError: when the mask is applied, if a pattern matches no parameter; a mask
            that silently selects nothing is a typing error more often than a wish.

    >>> params = {"conv1": {"kernel": 1.0, "bias": 0.0}}
    >>> path_mask("kernel$")(params)
    {'conv1': {'bias': False, 'kernel': True}}
    """
    compiled = [re.compile(pattern) for pattern in patterns]

    def mask(params: Params) -> Any:
        refuse_step_count(params)
        names = leaf_names(params)
        # Optax initialises with an empty stand-in for the parameters.
        for regex in compiled if names else []:
            if not any(regex.search(name) for name in names):
                raise ValueError(
                    f"a mask pattern must match some parameter; {regex.pattern!r} "
                    f"matches none of {list(names)}: correct it or leave it out"
                )
        found = [any(regex.search(name) for regex in compiled) for name in names]
        return jax.tree.unflatten(jax.tree.structure(params), found)

    return mask


def exclude(*patterns: str) -> Callable[[Params], Any]:
    """Return the complement of `path_mask`: False where any pattern is found.

    >>> exclude(BIAS_AND_NORM)({"conv1": {"kernel": 1.0, "bias": 0.0}})
    {'conv1': {'bias': False, 'kernel': True}}
    """
    found = path_mask(*patterns)
    return lambda params: jax.tree.map(operator.not_, found(params))


def path_labels(rules: Mapping[str, str]) -> Callable[[Params], Any]:
    """Return a label function for `optax.partition`: the first rule that matches wins.

    Args:
        rules: pattern to label, in order of precedence.

    Raises:
        ValueError: when applied, if some parameter matches no rule; it lists them.

    >>> labels = path_labels({"bias$": "plain", ".*": "adapted"})
    >>> labels({"fc": {"kernel": 1.0, "bias": 0.0}})
    {'fc': {'bias': 'plain', 'kernel': 'adapted'}}
    """
    compiled = [(re.compile(pattern), label) for pattern, label in rules.items()]

    def label_of(name: str) -> str | None:
        return next((label for regex, label in compiled if regex.search(name)), None)

    def labels(params: Params) -> Any:
        names = leaf_names(params)
        found = [label_of(name) for name in names]
        uncovered = [name for name in names if label_of(name) is None]
        if uncovered:
            raise ValueError(
                f"every parameter must match a rule; rules {list(rules)} leave out "
                f"{uncovered}: add a rule, for instance a last '.*'"
            )
        return jax.tree.unflatten(jax.tree.structure(params), found)

    return labels


def exclude_vectors(stacked_axes: Any = None) -> Callable[[Params], Any]:
    """Return a mask function: False for scalars and vectors, as biases and norms are.

    Args:
        stacked_axes: axes that count layers, as `lars` takes them; they do not count.

    >>> mask = exclude_vectors()
    >>> mask({"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)})
    {'bias': False, 'kernel': True}
    """

    def mask(params: Params) -> Any:
        refuse_step_count(params)
        leaves, structure = jax.tree.flatten(params)
        axes = resolve_stacked_axes(stacked_axes, params)
        ranks = [
            jnp.ndim(leaf) - (axis is not None)
            for leaf, axis in zip(leaves, axes, strict=True)
        ]
        return structure.unflatten([rank > 1 for rank in ranks])

    return mask


def resolve_mask(mask: Mask, tree: Params, *, name: str = "mask") -> Any:
    """Return a tree of bools with the structure of `tree` from any form of mask.

    Args:
        mask: one bool for all leaves, a tree (or tree prefix) of bools, or a function
            of the tree that returns either; None, as Optax has it, for all leaves.
        tree: parameters, or updates of the same structure.
        name: of the argument that it is, for errors.

    Raises:
        ValueError: a mask of anything but plain bools, such as a pattern, or a tree
            that does not fit.

    >>> resolve_mask(None, {"kernel": 1.0})
    {'kernel': True}
    """
    flags = broadcast_prefix(name, True if mask is None else mask, tree)
    for flag in flags:
        if not isinstance(flag, bool | np.bool_):
            raise ValueError(
                f"a mask must be made of bools; got {flag!r}: for leaves by the names "
                "of their paths use path_mask or exclude"
            )
    return jax.tree.unflatten(jax.tree.structure(tree), map(bool, flags))
