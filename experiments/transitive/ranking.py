"""The ranking of pairs: what belongs together is closer than what does not.

Section 5 of the paper, whose equations have no numbers. A batch is pairs of images that
belong together; the negatives of a pair are images of the batch whose parent cluster is
another one. Beyond the paper, which takes one negative at random, a pair may have the
hardest share of them, or all.

Choices where the paper leaves one:
  * The hinge has gradient 0 where it is exactly 0.
  * Vectors shorter than 1e-12 count as zero: their cosine with everything is 0, and
    their gradient is 0.
  * A pair without a negative, as in a batch of one parent, does not count.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from lars_jax.errors import InputError

Negatives = Literal["random", "half_hard", "hardest", "all"]

HALF = 2
"""Negatives of each of the two sorts of `half_hard`."""

SHORTEST = 1e-12
"""Length below which a vector counts as zero."""

Metrics = dict[str, jax.Array]


def cosine_distance(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return one minus the cosine of the angle between vectors.

    D(a, b) = 1 - <a, b> / (|a| |b|)

    Args:
        a: [..., D], of any float dtype; computed in float32 at least.
        b: [..., D].

    Returns:
        [...], in 0 .. 2.

    >>> print(cosine_distance(jnp.array([3.0, 4.0]), jnp.array([0.0, 0.5])).round(3))
    0.2
    """
    return 1.0 - jnp.sum(normalised(a) * normalised(b), axis=-1)


def triplet_loss(
    anchor: jax.Array, positive: jax.Array, negative: jax.Array, *, margin: float = 0.5
) -> jax.Array:
    """Return the loss of triplets.

    L(X, X+, X-) = max(0, D(X, X+) - D(X, X-) + m)

    Args:
        anchor: X, [..., D].
        positive: X+, [..., D].
        negative: X-, [..., D].
        margin: m.

    Returns:
        [...], in 0 .. 2 + m.

    >>> x, y = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
    >>> print(triplet_loss(x, x, y), triplet_loss(x, y, x))
    0.0 1.5
    """
    near = cosine_distance(anchor, positive)
    return jax.nn.relu(near - cosine_distance(anchor, negative) + margin)


def ranking_loss(
    features: jax.Array,
    parents: jax.Array,
    *,
    images: jax.Array | None = None,
    margin: float = 0.5,
    negatives: Negatives = "random",
    key: jax.Array | None = None,
    hardest_share: float = 0.5,
    other_parents: bool = True,
) -> tuple[jax.Array, Metrics]:
    """Return the mean loss of the pairs of a batch against negatives from that batch.

    The loss of a pair is the mean of `triplet_loss` over its negatives; the first end
    of the pair is the anchor, the second its positive.

    Args:
        features: [P, 2, D], the two ends of each pair, from one pass of the network.
        parents: int [P], parent cluster of each pair, which both ends are in.
        images: int [P, 2], which image each end is; None: all are different ones.
        margin: m.
        negatives: `random`, one, each legal one with the same probability;
            `half_hard`, the two closest and two more at random, as in the code of the
            paper's ancestor but for its draw among the four closest; `hardest`, the
            closest, `hardest_share` of the legal ones rounded up; `all` of them.
        key: what the random ones are drawn by.
        hardest_share: above 0 and at most 1.
        other_parents: legal are the ends of the pairs of other parents; False: of all
            other pairs; of none that shares an image.

    Returns:
        The mean over the pairs that have a negative, 0 where none has, and by name:
        `active`, the share of triplets within the margin; `legal`, the share of pairs
        that have a negative; `positive` and `negative`, mean distances.

    Raises:
        InputError: features, parents or images of other shapes, negatives or a share
            that there are not, or no key for random ones.

    Reference:
        Wang, He, Gupta: Transitive Invariance for Self-supervised Visual Representation
        Learning, 2017, Section 5, https://arxiv.org/abs/1708.02901

    Two pairs at right angles, each with itself at distance 0:

    >>> features = jnp.array([[[1.0, 0.0], [2.0, 0.0]], [[0.0, 1.0], [0.0, 3.0]]])
    >>> loss, metrics = ranking_loss(
    ...     features, jnp.array([7, 8]), negatives="all", margin=1.25
    ... )
    >>> print(loss, metrics["active"], metrics["negative"])
    0.25 1.0 1.0
    """
    _check(features, parents, images, negatives, key, hardest_share)
    pairs, _, size = features.shape
    units = normalised(features)
    anchor = units[:, 0]
    near = 1.0 - jnp.sum(anchor * units[:, 1], axis=-1)
    legal = legal_negatives(parents, images, other_parents=other_parents)
    if negatives == "random" and key is not None:
        row, end, chosen = random_negatives(key, legal)
        far = 1.0 - jnp.sum(anchor * units[row, end], axis=-1)
        return _mean_hinge(near, far[:, None], chosen[:, None], margin)
    # In the precision of the features: the halves that accelerators take for products
    # would show in distances, which are small differences.
    others = units.reshape(2 * pairs, size)
    far = 1.0 - jnp.matmul(anchor, others.T, precision=jax.lax.Precision.HIGHEST)
    chosen = jnp.repeat(legal, 2, axis=1)
    if negatives == "hardest":
        far, chosen = _hardest(far, chosen, hardest_share)
    elif negatives == "half_hard" and key is not None:
        far, chosen = _half_hard(key, far, chosen)
    return _mean_hinge(near, far, chosen, margin)


def legal_negatives(
    parents: jax.Array, images: jax.Array | None = None, *, other_parents: bool = True
) -> jax.Array:
    """Return which pairs may give negatives to which: bool [P, P].

    Pairs that share an image give each other none: it would be pushed away from itself.

    Args:
        parents: int [P].
        images: int [P, 2], which image each end is; None: all are different ones.
        other_parents: those of other parents; False: all but the pair itself.

    >>> print(legal_negatives(jnp.array([4, 4, 9]))[0])
    [False False  True]
    >>> images = jnp.array([[0, 1], [2, 3], [1, 5], [6, 7]])
    >>> print(legal_negatives(jnp.array([4, 4, 9, 9]), images)[0])
    [False False False  True]
    """
    if other_parents:
        legal = parents[:, None] != parents[None, :]
    else:
        legal = ~jnp.eye(parents.shape[0], dtype=bool)
    if images is None:
        return legal
    same = images[:, None, :, None] == images[None, :, None, :]
    return legal & ~same.any(axis=(2, 3))


def random_negatives(
    key: jax.Array, legal: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draw one negative for each pair, every legal one with the same probability.

    Args:
        key: random key.
        legal: bool [P, P], as of `legal_negatives`.

    Returns:
        Pair int32 [P] and end int32 [P], 0 or 1, of each negative; and bool [P],
        whether there is one, without which the others mean nothing.

    >>> legal = legal_negatives(jnp.array([4, 4, 9]))
    >>> pair, end, found = random_negatives(jax.random.key(0), legal)
    >>> print(pair[:2], found)
    [2 2] [ True  True  True]
    """
    place_key, end_key = jax.random.split(key)
    # Of the legal ones, in order, the one whose number is drawn.
    number = jnp.cumsum(legal, axis=1, dtype=jnp.int32)
    count = number[:, -1]
    most = jnp.maximum(count, 1)
    drawn = jax.random.randint(place_key, count.shape, 0, most, jnp.int32)
    pair = jnp.argmax(number > drawn[:, None], axis=1).astype(jnp.int32)
    end = jax.random.bernoulli(end_key, 0.5, count.shape).astype(jnp.int32)
    return pair, end, count > 0


def swap_ends(key: jax.Array, pairs: jax.Array) -> jax.Array:
    """Return pairs [P, 2, ...] of which a random half has its ends the other way.

    Either end of a pair is then the anchor as often as the other.

    >>> pairs = jnp.tile(jnp.array([[5, 7]]), (4, 1))
    >>> print(swap_ends(jax.random.key(0), pairs).sum(axis=1))
    [12 12 12 12]
    """
    shape = (pairs.shape[0],) + (1,) * (pairs.ndim - 1)
    return jnp.where(jax.random.bernoulli(key, 0.5, shape), pairs[:, ::-1], pairs)


def normalised(x: jax.Array) -> jax.Array:
    """Return vectors [..., D] of length 1; such as count as zero are 0.

    Args:
        x: of lengths up to 1e19 in float32, whose square is finite; halves are widened.

    >>> print(normalised(jnp.array([[3.0, 4.0], [0.0, 0.0]])))
    [[0.6 0.8]
     [0.  0. ]]
    """
    wide = x.astype(np.promote_types(x.dtype, np.float32))
    square = jnp.sum(jnp.square(wide), axis=-1, keepdims=True)
    long = square > SHORTEST**2
    # The root of a zero that is not taken would still have an infinite gradient.
    inverse = jax.lax.rsqrt(jnp.where(long, square, 1.0))
    return jnp.where(long, wide * inverse, 0.0)


def _hardest(
    far: jax.Array, legal: jax.Array, share: float
) -> tuple[jax.Array, jax.Array]:
    """Return the closest negatives in order [P, K], and which of them count."""
    # By the number of legal ones; in float64, for 0.3 of 10 are 3 and not 4.
    wanted = np.ceil(share * np.arange(far.shape[1] + 1) - 1e-9).astype(np.int32)
    most = int(wanted[-1])
    found, _ = jax.lax.top_k(jnp.where(legal, -far, -jnp.inf), most)
    count = jnp.asarray(wanted)[jnp.sum(legal, axis=1, dtype=jnp.int32)]
    chosen = jnp.arange(most, dtype=jnp.int32)[None, :] < count[:, None]
    # An infinite distance times a gradient of zero would be no number.
    return jnp.where(chosen, -found, 0.0), chosen


def _half_hard(
    key: jax.Array, far: jax.Array, legal: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the two closest negatives and two others [P, 4], and which count."""
    count = min(HALF, far.shape[1])
    _, closest = jax.lax.top_k(jnp.where(legal, -far, -jnp.inf), count)
    rows = jnp.arange(far.shape[0], dtype=jnp.int32)[:, None]
    others = legal.at[rows, closest].set(False)
    drawn = jnp.where(others, jax.random.uniform(key, far.shape, far.dtype), -1.0)
    _, random = jax.lax.top_k(drawn, count)
    counts = [
        jnp.take_along_axis(some, place, axis=1)
        for some, place in ((legal, closest), (others, random))
    ]
    place = jnp.concatenate([closest, random], axis=1)
    return jnp.take_along_axis(far, place, axis=1), jnp.concatenate(counts, axis=1)


def _mean_hinge(
    near: jax.Array, far: jax.Array, chosen: jax.Array, margin: float
) -> tuple[jax.Array, Metrics]:
    """Return the mean over pairs of the mean over their chosen negatives [P, K]."""
    loss = jax.nn.relu(near[:, None] - far + margin)
    count = jnp.sum(chosen, axis=1).astype(near.dtype)
    counts = count > 0
    pairs = jnp.maximum(jnp.sum(counts.astype(near.dtype)), 1.0)

    def mean(values: jax.Array) -> jax.Array:
        of_pair = jnp.sum(jnp.where(chosen, values, 0.0), axis=1)
        return jnp.sum(of_pair / jnp.maximum(count, 1.0)) / pairs

    metrics = {
        "active": mean((loss > 0).astype(near.dtype)),
        "legal": jnp.mean(counts.astype(near.dtype)),
        "positive": jnp.mean(near),
        "negative": mean(far),
    }
    return mean(loss), metrics


def _check(
    features: jax.Array,
    parents: jax.Array,
    images: jax.Array | None,
    negatives: str,
    key: jax.Array | None,
    share: float,
) -> None:
    if features.ndim != 3 or features.shape[1] != 2:
        raise InputError(
            "a batch of pairs must be features [pairs, 2, units]; got "
            f"{list(features.shape)}: reshape them"
        )
    if parents.shape != features.shape[:1]:
        raise InputError(
            "each pair must have one parent; got parents "
            f"{list(parents.shape)} for {features.shape[0]} pairs: give one for each"
        )
    if images is not None and images.shape != features.shape[:2]:
        raise InputError(
            "each end of a pair must be one image; got images "
            f"{list(images.shape)} for {features.shape[0]} pairs: give two for each"
        )
    if negatives not in get_args(Negatives):
        raise InputError(
            f"negatives must be one of {', '.join(get_args(Negatives))}; got "
            f"{negatives!r}: choose one of these"
        )
    if negatives in ("random", "half_hard") and key is None:
        raise InputError(
            "random negatives need a random key; got None: pass key=jax.random.key(...)"
        )
    if not 0 < share <= 1:
        raise InputError(
            f"hardest_share must be above 0 and at most 1; got {share}: choose a share "
            "of the legal negatives"
        )
