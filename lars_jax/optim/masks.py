"""Choose parameters by regular expressions over their paths.

A parameter's path is the keys that lead to it, joined by slashes: `conv1/kernel`. The
same spelling comes out of Flax, Equinox and plain dictionaries, and it is what tables,
plots and error messages of this package call a layer's parameter.
"""

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lars_jax.optim.layers import leaf_names, path_name, resolve_stacked_axes

Params = Any
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


def exclude_vectors(stacked_axes: Any = None) -> Callable[[Params], Any]:
    """Return a mask function: False for scalars and vectors, as biases and norms are.

    Args:
        stacked_axes: axes that count layers, as `lars` takes them; they do not count.

    >>> mask = exclude_vectors()
    >>> mask({"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)})
    {'bias': False, 'kernel': True}
    """

    def mask(params: Params) -> Any:
        _refuse_step_count(params)
        leaves, structure = jax.tree.flatten(params)
        axes = resolve_stacked_axes(stacked_axes, params)
        ranks = [
            jnp.ndim(leaf) - (axis is not None)
            for leaf, axis in zip(leaves, axes, strict=True)
        ]
        return structure.unflatten([rank > 1 for rank in ranks])

    return mask


def resolve_mask(mask: Mask, tree: Params) -> Any:
    """Return a tree of bools with the structure of `tree` from any form of mask.

    Args:
        mask: one bool for all leaves, a tree (or tree prefix) of bools, or a function
            of the tree that returns either; None, as Optax has it, for all leaves.
        tree: parameters, or updates of the same structure.

    Raises:
        ValueError: a mask of anything but bools, such as a pattern, or the arrays that
            become of a mask which was taken for a number or a schedule.
    """
    if callable(mask):
        mask = mask(tree)
    if mask is None:
        mask = True

    def spread(flag: Any, subtree: Any) -> Any:
        if isinstance(flag, jax.Array):
            raise ValueError(
                "a mask must be made of plain bools, known before a step is compiled; "
                f"got {type(flag).__name__} of {flag.dtype}: {_PASS_STATIC}"
            )
        if not isinstance(flag, bool | np.bool_):
            raise ValueError(
                f"a mask must be made of bools; got {flag!r}: for leaves by the names "
                "of their paths use path_mask or exclude"
            )
        return jax.tree.map(lambda _: bool(flag), subtree)

    return jax.tree.map(spread, mask, tree)


def refuse_schedules(names: tuple[str, ...]) -> None:
    """Refuse to be built by `inject_hyperparams` with a mask taken for a schedule.

    `inject_hyperparams` calls every callable argument with the step count. A mask
    function then sees a number in place of the parameters, answers False, and LARS
    silently becomes plain SGD. What arrives is a bool like any other, so the injector's
    own schedules and their values, further up the stack, are the only witnesses.

    Args:
        names: arguments of this package's factories that are no schedules.

    Raises:
        ValueError: one of them is among the injected schedules, or a schedule of
            whatever name gave no number.
    """
    wrong: set[str] = set()
    frame = inspect.currentframe()
    while frame:
        if {"inner_factory", "sched_hps"} <= set(frame.f_code.co_freevars):
            values = frame.f_locals.get("hparams", {})
            static = names if _is_ours(frame.f_locals["inner_factory"]) else ()
            wrong |= {
                name
                for name in frame.f_locals["sched_hps"]
                if name in static or not _is_number(values.get(name, 0.0))
            }
        frame = frame.f_back
    if wrong:
        raise ValueError(
            "only numbers may follow schedules; got "
            f"{sorted(wrong)} called with the step count by inject_hyperparams: name "
            "them in its static_args (for lars: lars_jax.STATIC_ARGUMENTS)"
        )


def _is_ours(factory: Any) -> bool:
    while isinstance(factory, functools.partial):
        factory = factory.func
    return getattr(factory, "__module__", "").startswith("lars_jax.")


def _is_number(value: Any) -> bool:
    leaves = jax.tree.leaves(value)
    return (
        len(leaves) == 1
        and leaves[0] is value
        and jnp.issubdtype(jnp.result_type(value), jnp.number)
    )


_PASS_STATIC = (
    "name the mask's argument in static_args of optax.inject_hyperparams (for lars: "
    "lars_jax.STATIC_ARGUMENTS)"
)


def _refuse_step_count(params: Params) -> None:
    leaves = jax.tree.leaves(params)
    bare = len(leaves) == 1 and leaves[0] is params
    if bare and jnp.issubdtype(jnp.result_type(params), jnp.integer):
        raise ValueError(
            "a mask function must be called with parameters; got one integer, as "
            f"schedules do: {_PASS_STATIC}"
        )


def _compiled_mask(
    patterns: tuple[str, ...], *, selected: bool
) -> Callable[[Params], Any]:
    compiled = [re.compile(pattern) for pattern in patterns]

    def mask(params: Params) -> Any:
        _refuse_step_count(params)
        names = leaf_names(params)
        # Optax initialises with an empty stand-in for the parameters.
        for regex in compiled if names else []:
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
