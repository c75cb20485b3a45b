"""Losses and their gradients at the logits, against NumPy, by hand, and at extremes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.special import expit, log_softmax, softmax

from experiments.mgan.objectives import (
    classifier_loss,
    discriminator_loss,
    generator_loss,
    mixture_mean,
    two_discriminator_generator_loss,
    two_discriminator_loss,
)

B, M, K = 5, 4, 3
WEIGHTS = np.array([0.5, 0.3, 0.2])
KINDS = ("nonsaturating", "saturating")


def softplus(x):
    return np.logaddexp(x, 0.0)


def log_softplus(x):
    return np.log(np.log1p(np.exp(x)))


def logits(seed, *shape, scale=3.0):
    return np.random.default_rng(seed).normal(size=shape) * scale


def single(*arrays) -> Any:
    return tuple(jnp.asarray(array, jnp.float32) for array in arrays)


def mean_by_hand(values, weights):
    return sum(weights[k] * values[:, k].mean() for k in range(len(weights)))


def oracle_discriminator(real, fake, weights):
    return softplus(-real).mean() + mean_by_hand(softplus(fake), weights)


def oracle_classifier(kinds, weights):
    own = [log_softmax(kinds[:, k], axis=-1)[:, k] for k in range(len(weights))]
    return mean_by_hand(-np.stack(own, axis=1), weights)


def oracle_generator(fake, weights, kind):
    if kind == "saturating":
        return mean_by_hand(-softplus(fake), weights)
    return mean_by_hand(softplus(-fake), weights)


@pytest.mark.parametrize("seed", range(2))
def test_discriminator_loss_equals_numpy(seed):
    real, fake = logits(seed, B), logits(seed + 100, M, K)
    found = discriminator_loss(*single(real, fake, WEIGHTS))
    expected = oracle_discriminator(real, fake, WEIGHTS)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("seed", range(2))
def test_classifier_loss_equals_numpy(seed):
    kinds = logits(seed, M, K, K)
    found = classifier_loss(*single(kinds, WEIGHTS))
    np.testing.assert_allclose(found, oracle_classifier(kinds, WEIGHTS), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(2))
def test_generator_loss_equals_numpy(seed, kind):
    fake = logits(seed, M, K)
    found = generator_loss(*single(fake, WEIGHTS), kind=kind)
    np.testing.assert_allclose(found, oracle_generator(fake, WEIGHTS, kind), rtol=1e-5)


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


def test_rows_of_a_classifier_are_the_samples_own_generators():
    # All are taken for generator 0, whoever made them.
    kinds = np.zeros((M, K, K))
    kinds[:, :, 0] = 50.0
    found = classifier_loss(*single(kinds, WEIGHTS))
    np.testing.assert_allclose(found, 50.0 * WEIGHTS[1:].sum(), rtol=1e-6)


def test_gradient_of_the_discriminator_is_its_error():
    real, fake = logits(0, B), logits(1, M, K)
    of_real, of_fake = jax.grad(discriminator_loss, (0, 1))(
        *single(real, fake, WEIGHTS)
    )
    np.testing.assert_allclose(of_real, (expit(real) - 1) / B, atol=1e-7)
    np.testing.assert_allclose(of_fake, WEIGHTS / M * expit(fake), atol=1e-7)


def test_gradient_of_the_classifier_is_softmax_less_the_truth():
    kinds = logits(0, M, K, K)
    found = jax.grad(classifier_loss)(*single(kinds, WEIGHTS))
    error = softmax(kinds, axis=-1) - np.eye(K)
    np.testing.assert_allclose(found, WEIGHTS[:, None] / M * error, atol=1e-7)


def test_gradient_of_generators_is_what_the_discriminator_doubts():
    fake = logits(0, M, K)
    found = jax.grad(generator_loss)(*single(fake, WEIGHTS))
    np.testing.assert_allclose(found, -WEIGHTS / M * expit(-fake), atol=1e-7)


def test_gradient_of_the_saturating_loss_is_what_the_discriminator_believes():
    fake = logits(0, M, K)
    found = jax.grad(generator_loss)(*single(fake, WEIGHTS), "saturating")
    np.testing.assert_allclose(found, -WEIGHTS / M * expit(fake), atol=1e-7)


def test_gradient_by_the_weights_is_each_generators_mean():
    fake = logits(0, M, K)
    found = jax.grad(generator_loss, 1)(*single(fake, WEIGHTS))
    np.testing.assert_allclose(found, softplus(-fake).mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("loss", "shapes"),
    [
        (discriminator_loss, ((B,), (M, K), (K,))),
        (classifier_loss, ((M, K, K), (K,))),
        (generator_loss, ((M, K), (K,))),
        (lambda *x: generator_loss(*x, kind="saturating"), ((M, K), (K,))),
        (two_discriminator_loss, ((B, 2), (M, 2))),
        (two_discriminator_generator_loss, ((M, 2),)),
    ],
    ids=["discriminator", "classifier", "generator", "saturating", "d2gan", "d2gan_g"],
)
def test_gradients_equal_finite_differences(loss, shapes):
    with jax.enable_x64(True):
        arguments = [jnp.asarray(logits(i, *s, scale=1)) for i, s in enumerate(shapes)]
        check_grads(loss, arguments, order=1, modes=("rev",), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("logit", [-1e4, -100.0, 100.0, 1e4])
def test_extreme_logits_have_finite_losses_and_gradients(logit):
    real, fake = jnp.full(B, logit), jnp.full((M, K), logit)
    # The generator that is told, or the ones that are not, by the sign.
    kinds = logit * jnp.broadcast_to(jnp.eye(K), (M, K, K))
    weights = jnp.asarray(WEIGHTS, jnp.float32)
    pairs = [
        (lambda x: discriminator_loss(x, -fake, weights), real),
        (lambda x: discriminator_loss(-real, x, weights), fake),
        (lambda x: classifier_loss(x, weights), kinds),
        (lambda x: generator_loss(x, weights), fake),
        (lambda x: generator_loss(x, weights, "saturating"), fake),
    ]
    for loss, argument in pairs:
        value, gradient = jax.value_and_grad(loss)(argument)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_extreme_logits_cost_what_they_are():
    weights = jnp.asarray(WEIGHTS, jnp.float32)
    sure = jnp.full((M, K), 1e4)
    np.testing.assert_allclose(generator_loss(-sure, weights), 1e4)
    np.testing.assert_allclose(generator_loss(sure, weights, "saturating"), -1e4)
    np.testing.assert_allclose(
        discriminator_loss(jnp.full(B, -1e4), sure, weights), 2e4
    )
    kinds = -1e4 * jnp.broadcast_to(jnp.eye(K), (M, K, K))
    np.testing.assert_allclose(classifier_loss(kinds, weights), 1e4, rtol=1e-4)


@pytest.mark.parametrize("logit", [-1e4, 0.0, 3.0, 1e4])
def test_generator_of_weight_0_counts_for_nothing(logit):
    weights = jnp.array([0.6, 0.4, 0.0])
    two = logits(0, M, 2)
    fake = jnp.asarray(np.insert(two, 2, logit, axis=1), jnp.float32)
    seen, rest = jax.value_and_grad(generator_loss)(fake, weights)
    expected = oracle_generator(two, [0.6, 0.4], "nonsaturating")
    np.testing.assert_allclose(seen, expected, rtol=1e-5)
    np.testing.assert_array_equal(rest[:, 2], 0.0)
    kinds = logits(1, M, K, K)
    kinds[:, 2] = [logit, -logit, -logit]
    kinds = jnp.asarray(kinds, jnp.float32)
    seen, rest = jax.value_and_grad(classifier_loss)(kinds, weights)
    assert np.isfinite(seen)
    np.testing.assert_array_equal(rest[:, 2], 0.0)


def test_even_weights_make_the_mean_over_all_samples():
    fake = logits(0, M, K)
    found = generator_loss(*single(fake, np.full(K, 1 / K)))
    np.testing.assert_allclose(found, softplus(-fake).mean(), rtol=1e-5)


def test_mixture_mean_is_linear_in_the_weights():
    values, weights = single(logits(0, M, K), WEIGHTS)
    parts = [mixture_mean(values, jnp.zeros(K).at[k].set(weights[k])) for k in range(K)]
    np.testing.assert_allclose(
        mixture_mean(values, weights), np.sum(parts, axis=0), rtol=1e-5
    )


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_one_generator_has_no_classifier_loss_and_no_gradient(scale):
    (kinds,) = single(logits(0, M, 1, 1, scale=scale))
    value, gradient = jax.value_and_grad(classifier_loss)(kinds, jnp.ones(1))
    assert value == 0.0
    np.testing.assert_array_equal(gradient, 0.0)


LOWS = (0.0, -10.0, -29.9, -30.0, -30.1, -60.0, -100.0)


@pytest.mark.parametrize("shift", LOWS)
def test_two_discriminators_losses_equal_numpy(shift):
    real, fake = logits(0, B, 2) + shift, logits(1, M, 2) + shift
    found = two_discriminator_loss(*single(real, fake))
    expected = (softplus(real[:, 1]) - log_softplus(real[:, 0])).mean()
    expected += (softplus(fake[:, 0]) - log_softplus(fake[:, 1])).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    found = two_discriminator_generator_loss(*single(fake))
    expected = (log_softplus(fake[:, 1]) - softplus(fake[:, 0])).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("logit", [*LOWS, 20.0, -1e4, 1e4])
def test_gradients_of_two_discriminators_at_a_logit(logit):
    # d log softplus(x) / dx, which is 1 far below and 1/x far above.
    slope = 1.0 if logit < -50 else expit(logit) / softplus(logit)
    of_real = jax.grad(two_discriminator_loss)(
        jnp.full((1, 2), logit), jnp.zeros((1, 2))
    )
    np.testing.assert_allclose(of_real[0], [-slope, expit(logit)], 1e-5, 1e-40)
    of_fake = jax.grad(two_discriminator_generator_loss)(jnp.full((1, 2), logit))
    np.testing.assert_allclose(of_fake[0], [-expit(logit), slope], 1e-5, 1e-40)
