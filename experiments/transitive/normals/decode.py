"""From scores of codewords to normals.

The paper does not say how its network's 40 scores become a normal. `triangle` is the
rule of the network that it builds on (Wang, Fouhey, Gupta: Designing Deep Networks for
Surface Normal Estimation, 2015).
"""

from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from lars_jax.errors import InputError

Rule = Literal["hard", "soft", "triangle"]

SHORTEST = 1e-6
"""Length below which a sum of codewords has no direction."""


@partial(jax.jit, static_argnames="rule")
def decode(
    logits: jax.Array,
    codebook: jax.Array,
    *,
    rule: Rule = "triangle",
    corners: jax.Array | None = None,
) -> jax.Array:
    r"""Return the unit normal that scores of codewords stand for.

    With p the softmax of the scores, `soft` is

    .. math:: \frac{\sum_k p_k c_k}{\left| \sum_k p_k c_k \right|},

    `triangle` the same sum over the three codewords of the triangle whose p have the
    largest sum, and `hard` the codeword of the largest score, the first of equals.

    Args:
        logits: float [..., K].
        codebook: float32 [K, 3], unit rows.
        rule: `hard`, `soft` or `triangle`.
        corners: int32 [T, 3], for `triangle`, from `codebook.triangles`.

    Returns:
        float32 [..., 3]. Where a sum is zero, the codeword of the largest score.

    Raises:
        InputError: other shapes, a rule that there is none of, or no triangles for it.

    >>> words = jnp.eye(3)
    >>> logits = jnp.log(jnp.array([0.5, 0.5, 1e-9]))
    >>> for rule in ("hard", "soft"):
    ...     print(jnp.round(100 * decode(logits, words, rule=rule)))
    [100.   0.   0.]
    [71. 71.  0.]
    """
    _check(logits, codebook, rule, corners)
    likeliest = codebook[jnp.argmax(logits, axis=-1)]
    if rule == "hard":
        return likeliest.astype(jnp.float32)
    share = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
    if rule == "triangle":
        assert corners is not None
        share = _of_triangle(share, corners)
    # At the default precision an accelerator would round p and c to 8 bits.
    total = jnp.einsum(
        "...k,kc->...c", share, codebook, precision=jax.lax.Precision.HIGHEST
    )
    square = jnp.sum(total * total, axis=-1, keepdims=True)
    some = square > SHORTEST**2
    # The root of a zero has no gradient, not even where it is not taken.
    length = jnp.sqrt(jnp.where(some, square, 1.0))
    return jnp.where(some, total / length, likeliest)


def _of_triangle(share: jax.Array, corners: jax.Array) -> jax.Array:
    """Return the shares of one triangle's corners, and zero for all others."""
    # Sums in place of [..., T, 3] gathered shares, which are three times as large.
    sums = sum(share[..., corners[:, corner]] for corner in range(3))
    best = corners[jnp.argmax(jnp.asarray(sums), axis=-1)]
    chosen = jax.nn.one_hot(best, share.shape[-1], dtype=share.dtype).sum(axis=-2)
    return share * chosen


def _check(
    logits: jax.Array, codebook: jax.Array, rule: str, corners: jax.Array | None
) -> None:
    if rule not in get_args(Rule):
        raise InputError(
            f"a rule of decoding is one of {', '.join(get_args(Rule))}; got {rule!r}: "
            "choose one of these"
        )
    if codebook.ndim != 2 or codebook.shape[1] != 3:
        raise InputError(
            f"a codebook is [K, 3]; got {list(codebook.shape)}: make it by fit_codebook"
        )
    if logits.shape[-1:] != codebook.shape[:1]:
        raise InputError(
            "scores have one value for each codeword; got "
            f"{list(logits.shape)} for {len(codebook)}: take the codebook of training"
        )
    if rule == "triangle" and (corners is None or corners.shape[1:] != (3,)):
        got = None if corners is None else list(corners.shape)
        raise InputError(
            f"the rule 'triangle' needs triangles [T, 3]; got {got}: pass "
            "corners=triangles(codebook)"
        )
