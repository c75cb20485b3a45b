"""Each generator's first layer is a layer of its own to rules that take norms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.mgan.config import Config, OptimizerConfig
from experiments.mgan.networks import make_generators
from experiments.mgan.optimizer import make_optimizer
from lars_jax.optim import exclude_vectors, lamb, lars
from lars_jax.train.config import replace_fields

K = 3
STEPS = 3
PLANE = replace_fields(
    Config(), generators=K, width=8, noise_size=5, init_deviation=0.3
)
IMAGES = replace_fields(
    PLANE, dataset="digits", network="dcgan", image_size=8, stages=2, width=4
)


def separate(tree):
    """Return a tree with a leaf for each generator in the place of stacked ones."""
    rest = {k: v for k, v in tree.items() if k not in ("first", "first_norm")}
    for k in range(K):
        own = {
            "kernel": tree["first"]["kernel"][:, k],
            "bias": tree["first"]["bias"][k],
        }
        rest[f"own{k}"] = own
        if "first_norm" in tree:
            norm = tree["first_norm"]
            rest[f"own{k}_norm"] = {n: norm[n][k] for n in ("scale", "bias")}
    return rest


def weights_and_gradients(config):
    """Return weights, and gradients of which each generator has its own scale."""
    network = make_generators(config, 1)
    noise = jnp.zeros((1, config.model.noise_size))
    params, _ = jax.jit(network.init)(jax.random.key(0), noise)
    random = np.random.default_rng(0)
    gradients = []
    for _ in range(STEPS):
        gradient = jax.tree.map(
            lambda x: jnp.asarray(random.normal(size=x.shape), jnp.float32), params
        )
        scale = jnp.array([[1.0], [100.0], [0.01]])
        gradient["first"]["kernel"] = gradient["first"]["kernel"] * scale[None]
        gradients.append(gradient)
    return params, gradients


def updates_of(tx, params, gradients):
    state, found = tx.init(params), []
    update = jax.jit(tx.update)
    for gradient in gradients:
        updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        found.append(updates)
    return found


def make(rule, weight_decay=0.0):
    config = OptimizerConfig(
        momentum=0.9, trust_coefficient=0.01, weight_decay=weight_decay
    )
    return make_optimizer(config, rule, 0.5, steps=10)


@pytest.mark.parametrize("config", [PLANE, IMAGES], ids=["plane", "dcgan"])
@pytest.mark.parametrize("rule", ["lars", "lamb"])
def test_stacked_first_layers_equal_layers_of_their_own(rule, config):
    params, gradients = weights_and_gradients(config)
    stacked = updates_of(make(rule, 0.1), params, gradients)
    apart = updates_of(
        make(rule, 0.1), separate(params), [separate(part) for part in gradients]
    )
    for one, other in zip(stacked, apart, strict=True):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-9),
            separate(one),
            other,
        )


@pytest.mark.parametrize("rule", ["lars", "lamb"])
def test_ratio_for_all_first_layers_together_would_throttle_generators(rule):
    params, gradients = weights_and_gradients(PLANE)
    stacked = updates_of(make(rule), params, gradients)[0]["first"]["kernel"]
    mask = exclude_vectors()
    together = {
        "lars": lars(0.5, trust_coefficient=0.01, trust_ratio_mask=mask, momentum=0.9),
        "lamb": lamb(0.5, b1=0.9, b2=0.999, trust_ratio_mask=mask),
    }[rule]
    one_ratio = updates_of(together, params, gradients)[0]["first"]["kernel"]
    size = np.linalg.norm(stacked, axis=(0, 2))
    throttled = np.linalg.norm(one_ratio, axis=(0, 2))
    # With ratios of their own, gradients of any scale make steps of a like length.
    assert size.max() / size.min() < 2
    if rule == "lars":
        assert throttled.max() / throttled.min() > 1000
    assert np.abs(stacked - one_ratio).max() > 1e-4


@pytest.mark.parametrize("rule", ["lars", "lamb"])
def test_biases_that_begin_at_0_learn(rule):
    params, gradients = weights_and_gradients(IMAGES)
    updates = updates_of(make(rule), params, gradients)[0]
    for layer in ("first", "up1", "output", "first_norm"):
        assert np.abs(updates[layer]["bias"]).min() > 0


@pytest.mark.parametrize("rule", ["lars", "lamb"])
def test_weight_decay_is_of_matrices_alone(rule):
    params, gradients = weights_and_gradients(IMAGES)
    params["first"]["bias"] = jnp.ones_like(params["first"]["bias"])
    without = updates_of(make(rule), params, gradients[:1])[0]
    decayed = updates_of(make(rule, 0.5), params, gradients[:1])[0]
    for layer in ("first", "up1", "output", "first_norm"):
        np.testing.assert_array_equal(decayed[layer]["bias"], without[layer]["bias"])
    for layer in ("first", "up1", "output"):
        assert np.abs(decayed[layer]["kernel"] - without[layer]["kernel"]).max() > 1e-4


def size_after(steps, weight_decay):
    """Return the weight of a logistic loss of separable data, log(1 + exp(-w))."""
    config = OptimizerConfig(
        momentum=0.0, trust_coefficient=0.1, weight_decay=weight_decay
    )
    tx = make_optimizer(config, "lars", 1.0, steps)

    def step(_, carry):
        w, state = carry
        gradient = jax.tree.map(lambda x: -jax.nn.sigmoid(-x), w)
        updates, state = tx.update(gradient, state, w)
        return optax.apply_updates(w, updates), state

    w = {"kernel": jnp.ones((1, 1))}
    found, _ = jax.lax.fori_loop(0, steps, step, (w, tx.init(w)))
    return float(found["kernel"][0, 0])


def test_only_weight_decay_bounds_a_layer_that_gains_by_growing():
    # Without it a step is a tenth of the weight, be the gradient ever so small.
    np.testing.assert_allclose(size_after(40, 0.0), 1.1**40, rtol=1e-4)
    # It ends where gradient and decay cancel: sigmoid(-w) = 0.01 w, at w = 3.3593.
    np.testing.assert_allclose(size_after(400, 0.01), 3.3593, rtol=1e-4)


def test_adam_is_that_of_optax():
    params, gradients = weights_and_gradients(PLANE)
    found = updates_of(make("adam"), params, gradients)
    with jax.numpy_dtype_promotion("standard"):
        expected = updates_of(optax.adam(0.5, b1=0.9, b2=0.999), params, gradients)
    # 1 - b2 is here that of a float32 number.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), found, expected
    )


def lengths(config, steps):
    """Return the length of each step of plain descent along a gradient of 1."""
    tx = make_optimizer(config, "lars", 2.0, steps)
    # Vectors are not adapted, so that steps are as long as the rate.
    params = {"bias": jnp.zeros(1)}
    gradients = [{"bias": jnp.ones(1)}] * steps
    return [-float(step["bias"][0]) for step in updates_of(tx, params, gradients)]


def test_rate_is_constant_where_nothing_else_is_asked_for():
    np.testing.assert_allclose(lengths(OptimizerConfig(momentum=0.0), 4), 2.0)


def test_rate_warms_up_from_its_first_step():
    config = OptimizerConfig(momentum=0.0, warmup_steps=4)
    np.testing.assert_allclose(lengths(config, 6), [0.5, 1.0, 1.5, 2.0, 2.0, 2.0])


def test_rate_falls_to_0_at_the_end():
    config = OptimizerConfig(momentum=0.0, decay_from=0.5)
    expected = [2.0, 2.0, 2.0, 2.0, 2.0, 1.5, 1.0, 0.5]
    np.testing.assert_allclose(lengths(config, 8), expected)
