"""Losses and their gradients at the logits, against NumPy, by hand, and at extremes."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax

from experiments.mgan.objectives import (
    classifier_loss,
    discriminator_loss,
    generator_loss,
    two_discriminator_generator_loss,
    two_discriminator_loss,
)

B, M, K = 5, 4, 3
WEIGHTS = np.array([0.5, 0.3, 0.2])


def softplus(x):
    return np.logaddexp(x, 0.0)


def log_softplus(x):
    return np.log(np.log1p(np.exp(x)))


def logits(seed, *shape, scale=3.0):
    return np.random.default_rng(seed).normal(size=shape) * scale


def single(*arrays) -> Any:
    return tuple(jnp.asarray(array, jnp.float32) for array in arrays)


def mixed(values):
    """Return the mean over the mixture of values [M, K]."""
    return values.mean(axis=0) @ WEIGHTS


def check(loss, arguments, expected, gradients):
    """Hold a loss and its gradients by the first arguments to what NumPy says."""
    places = tuple(range(len(gradients)))
    value, found = jax.value_and_grad(loss, places)(*single(*arguments))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for one, other in zip(found, gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_discriminator_minimises_its_error():
    real, fake = logits(0, B), logits(1, M, K)
    expected = softplus(-real).mean() + mixed(softplus(fake))
    gradients = (expit(real) - 1) / B, WEIGHTS / M * expit(fake)
    check(discriminator_loss, (real, fake, WEIGHTS), expected, gradients)


def test_classifier_minimises_the_cross_entropy_of_a_samples_own_generator():
    kinds = logits(0, M, K, K)
    own = np.stack([log_softmax(kinds[:, k], axis=-1)[:, k] for k in range(K)], axis=1)
    error = softmax(kinds, axis=-1) - np.eye(K)
    gradients = (WEIGHTS[:, None] / M * error,)
    check(classifier_loss, (kinds, WEIGHTS), mixed(-own), gradients)


def test_generators_minimise_what_the_discriminator_doubts():
    fake = logits(0, M, K)
    expected = mixed(softplus(-fake))
    # By the weights, each generator's own mean.
    gradients = -WEIGHTS / M * expit(-fake), softplus(-fake).mean(axis=0)
    check(generator_loss, (fake, WEIGHTS), expected, gradients)


def test_saturating_loss_is_what_the_discriminator_believes():
    fake, gradient = logits(0, M, K), -WEIGHTS / M * expit(logits(0, M, K))
    check(
        partial(generator_loss, kind="saturating"),
        (fake, WEIGHTS),
        mixed(-softplus(fake)),
        (gradient,),
    )


def test_losses_by_hand():
    # D = 3/4 of one real sample; 1/2 and 1/4 of a fake of either generator.
    real, fake = np.log([3.0]), np.log([[1.0, 1 / 3]])
    weights = np.array([0.25, 0.75])
    assert discriminator_loss(*single(real, fake, weights)) == pytest.approx(
        np.log(4 / 3) + 0.25 * np.log(2) + 0.75 * np.log(4 / 3)
    )
    assert generator_loss(*single(fake, weights)) == pytest.approx(
        0.25 * np.log(2) + 0.75 * np.log(4)
    )
    assert generator_loss(*single(fake, weights), kind="saturating") == pytest.approx(
        -0.25 * np.log(2) - 0.75 * np.log(4 / 3)
    )
    # The first generator is told with probability 4/5, the second with 1/2.
    kinds = np.log([[[4.0, 1.0], [7.0, 7.0]]])
    assert classifier_loss(*single(kinds, weights)) == pytest.approx(
        0.25 * np.log(5 / 4) + 0.75 * np.log(2)
    )


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_extreme_logits_have_finite_losses_and_gradients(logit):
    real, fake, weights = single(np.full(B, logit), np.full((M, K), logit), WEIGHTS)
    # The generator that is told, or the ones that are not, by the sign.
    kinds = logit * jnp.broadcast_to(jnp.eye(K), (M, K, K))
    high, told = max(logit, 0.0), min(logit, 0.0)

    @jax.jit
    def everything(real, fake, kinds):
        return (
            jax.value_and_grad(discriminator_loss, (0, 1))(real, -fake, weights),
            jax.value_and_grad(classifier_loss)(kinds, weights),
            jax.value_and_grad(generator_loss)(fake, weights),
            jax.value_and_grad(generator_loss)(fake, weights, "saturating"),
        )

    found = everything(real, fake, kinds)
    for leaf in jax.tree.leaves(found):
        assert np.isfinite(leaf).all()
    expected = [-2 * told, -told, -told, -high]
    losses = [value for value, _ in found]
    np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("logit", [-1e4, 3.0])
def test_generator_of_weight_0_counts_for_nothing(logit):
    fake = np.insert(logits(0, M, 2), 2, logit, axis=1)
    weights = np.array([0.6, 0.4, 0.0])
    seen, rest = jax.value_and_grad(generator_loss)(*single(fake, weights))
    expected = softplus(-fake)[:, :2].mean(axis=0) @ weights[:2]
    np.testing.assert_allclose(seen, expected, rtol=1e-5)
    np.testing.assert_array_equal(rest[:, 2], 0.0)


def test_one_generator_has_no_classifier_loss_and_no_gradient():
    (kinds,) = single(logits(0, M, 1, 1, scale=1e4))
    value, gradient = jax.value_and_grad(classifier_loss)(kinds, jnp.ones(1))
    assert value == 0.0
    np.testing.assert_array_equal(gradient, 0.0)


LOWS = np.array([0.0, -10.0, -29.9, -30.0, -30.1, -60.0, -100.0])


def test_two_discriminators_losses_equal_numpy_however_low_the_logits():
    real, fake = logits(0, len(LOWS), B, 2), logits(1, len(LOWS), M, 2)
    real, fake = real + LOWS[:, None, None], fake + LOWS[:, None, None]
    found = jax.vmap(two_discriminator_loss)(*single(real, fake))
    expected = (softplus(real[..., 1]) - log_softplus(real[..., 0])).mean(axis=1)
    expected += (softplus(fake[..., 0]) - log_softplus(fake[..., 1])).mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    found = jax.vmap(two_discriminator_generator_loss)(*single(fake))
    expected = (log_softplus(fake[..., 1]) - softplus(fake[..., 0])).mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_gradients_of_two_discriminators_from_the_lowest_to_the_highest_logit():
    points = np.array([*LOWS, 20.0, -1e4, 1e4])
    # d log softplus(x) / dx, which is 1 far below and 1/x far above.
    far = points < -50
    slope = np.where(far, 1.0, expit(points) / softplus(np.where(far, 0.0, points)))
    pairs = jnp.asarray(np.stack([points, points], axis=1)[:, None], jnp.float32)
    of_real = jax.vmap(jax.grad(two_discriminator_loss), (0, None))(
        pairs, jnp.zeros((1, 2))
    )
    expected = np.stack([-slope, expit(points)], axis=1)
    np.testing.assert_allclose(of_real[:, 0], expected, 1e-5, 1e-38)
    of_fake = jax.vmap(jax.grad(two_discriminator_generator_loss))(pairs)
    expected = np.stack([-expit(points), slope], axis=1)
    np.testing.assert_allclose(of_fake[:, 0], expected, 1e-5, 1e-38)
