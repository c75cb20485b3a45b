"""Choose parameters by regular expressions over their paths.

A parameter's path is the keys that lead to it, joined by slashes: `conv1/kernel`. The
same spelling comes out of Flax, Equinox and plain dictionaries, and it is what tables,
plots and error messages of this package call a layer's parameter.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax

Params = Any
Mask = bool | Any | Callable[[Params], Any]

BIAS_AND_NORM = r"(^|/)(bias|scale)$"
"""Biases, and the scales of normalisation layers, as Flax names them."""


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
    return _compiled_mask(patterns, selected=True)


def exclude(*patterns: str) -> Callable[[Params], Any]:
    """Return the complement of `path_mask`: False where any pattern is found.

    >>> exclude(BIAS_AND_NORM)({"conv1": {"kernel": 1.0, "bias": 0.0}})
    {'conv1': {'bias': False, 'kernel': True}}
    """
    return _compiled_mask(patterns, selected=False)


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
        uncovered = [name for name in leaf_names(params) if label_of(name) is None]
        if uncovered:
            raise ValueError(
                f"every parameter must match a rule; rules {list(rules)} leave out "
                f"{uncovered}: add a rule, for instance a last '.*'"
            )
        return jax.tree.map_with_path(lambda path, _: label_of(path_name(path)), params)

    return labels


def resolve_mask(mask: Mask, tree: Params) -> Any:
    """Return a tree of bools with the structure of `tree` from any form of mask.

    Args:
        mask: one bool for all leaves, a tree (or tree prefix) of bools, or a function
            of the tree that returns either.
        tree: parameters, or updates of the same structure.
    """
    if callable(mask):
        mask = mask(tree)
    return jax.tree.map(
        lambda flag, subtree: jax.tree.map(lambda _: bool(flag), subtree), mask, tree
    )


def _compiled_mask(
    patterns: tuple[str, ...], *, selected: bool
) -> Callable[[Params], Any]:
    compiled = [re.compile(pattern) for pattern in patterns]

    def mask(params: Params) -> Any:
        names = leaf_names(params)
        for regex in compiled:
            if not any(regex.search(name) for name in names):
                raise ValueError(
                    f"a mask pattern must match some parameter; {regex.pattern!r} "
                    f"matches none of {list(names)}: mend the pattern or leave it out"
                )

        def matches(path: tuple[Any, ...], _: Any) -> bool:
            found = any(regex.search(path_name(path)) for regex in compiled)
            return found == selected

        return jax.tree.map_with_path(matches, params)

    return mask
