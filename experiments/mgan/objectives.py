"""What each player minimises, as pure functions of logits for one batch.

D = sigmoid(d) and C = softmax(c) for logits d and c. Losses are means: over the batch B
of real samples, and for the mixture the sum over generators of pi_k times the mean over
the M samples of each. Softplus and log-sum-exp keep them finite for any finite logits.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Logits(NamedTuple):
    """What discriminator and classifier say of a batch.

    Attributes:
        realness: logits d of having come from the data, float32 [...].
        generators: logits c of having come from each generator, float32 [..., K].
    """

    realness: jax.Array
    generators: jax.Array


def discriminator_loss(
    real: jax.Array, fake: jax.Array, weights: jax.Array
) -> jax.Array:
    """Return what the discriminator minimises, the first two terms of -J.

        - mean_b log D(x_b) - sum_k pi_k mean_m log(1 - D(G_k(z_m)))

    Args:
        real: logits of real samples, [B].
        fake: logits of generated ones, [M, K].
        weights: pi, [K].

    At logits of 0 it is log 4, what it is for a discriminator that cannot tell:

    >>> print(round(float(discriminator_loss(
    ...     jnp.zeros(3), jnp.zeros((2, 1)), jnp.ones(1))), 4))
    1.3863
    """
    return jnp.mean(jax.nn.softplus(-real)) + _mixture_mean(
        jax.nn.softplus(fake), weights
    )


def classifier_loss(generators: jax.Array, weights: jax.Array) -> jax.Array:
    """Return the softmax cross-entropy of telling the generators apart.

        - sum_k pi_k mean_m log C_k(G_k(z_m))

    It lies between 0 and, for a classifier that cannot tell, log K; for one generator
    it is 0 and so is its gradient.

    Args:
        generators: logits of generated samples, [M, K, K]: sample, its generator, and
            the generator that it is taken for.
        weights: pi, [K].

    >>> loss = classifier_loss(jnp.zeros((2, 8, 8)), jnp.full(8, 1 / 8))
    >>> print(round(float(loss), 4))
    2.0794
    """
    own = jnp.diagonal(generators, axis1=1, axis2=2)
    return _mixture_mean(jax.nn.logsumexp(generators, axis=-1) - own, weights)


def generator_loss(
    fake: jax.Array, weights: jax.Array, kind: str = "nonsaturating"
) -> jax.Array:
    """Return what the generators minimise against the discriminator.

        nonsaturating:  - sum_k pi_k mean_m log D(G_k(z_m))
        saturating:       sum_k pi_k mean_m log(1 - D(G_k(z_m)))

    The saturating form is the game's own; its gradient vanishes where the
    discriminator is sure. The authors' programs use the other.

    Args:
        fake: logits of generated samples, [M, K].
        weights: pi, [K].
        kind: `nonsaturating` or `saturating`.

    >>> surely_fake = jnp.full((1, 1), -20.0)
    >>> print(generator_loss(surely_fake, jnp.ones(1)))
    20.0
    """
    if kind == "saturating":
        return -_mixture_mean(jax.nn.softplus(fake), weights)
    return _mixture_mean(jax.nn.softplus(-fake), weights)


def two_discriminator_loss(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Return what the two discriminators of D2GAN minimise.

        E_data [- log D1(x) + D2(x)] + E_G [D1(G(z)) - log D2(G(z))]

    with D = softplus(logit), which is Equation 1 of Nguyen et al. 2017 at weights of 1.

    Args:
        real: logits of both for real samples, [B, 2].
        fake: logits of both for generated ones, [M, 2].

    >>> zero = jnp.zeros((1, 2))
    >>> print(round(float(two_discriminator_loss(zero, zero)), 4))
    2.1193
    """
    d_real, d_fake = jax.nn.softplus(real), jax.nn.softplus(fake)
    return jnp.mean(d_real[:, 1] - _log_softplus(real[:, 0])) + jnp.mean(
        d_fake[:, 0] - _log_softplus(fake[:, 1])
    )


def two_discriminator_generator_loss(fake: jax.Array) -> jax.Array:
    """Return what the generator of D2GAN minimises, E_G [log D2 - D1].

    Args:
        fake: logits of both discriminators, [M, 2].

    >>> print(round(float(two_discriminator_generator_loss(jnp.zeros((1, 2)))), 4))
    -1.0597
    """
    first, second = fake[:, 0], fake[:, 1]
    return jnp.mean(_log_softplus(second) - jax.nn.softplus(first))


def _mixture_mean(values: jax.Array, weights: jax.Array) -> jax.Array:
    """Return sum_k pi_k mean_m v_mk of values [M, K]."""
    return jnp.dot(jnp.mean(values, axis=0), weights)


def _log_softplus(logit: jax.Array) -> jax.Array:
    """Return log(softplus(x)), which for very negative x is x itself."""
    far = logit < -30.0
    # Not a maximum, whose gradient at -30 itself is a half.
    safe = jnp.where(far, -30.0, logit)
    return jnp.where(far, logit, jnp.log(jax.nn.softplus(safe)))
