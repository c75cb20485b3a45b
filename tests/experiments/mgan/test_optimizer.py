"""Each generator's first layer is a layer of its own to rules that take norms."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.mgan.config import Config
from experiments.mgan.optimizer import make_optimizer
from lars_jax.optim import exclude_vectors, lamb, lars
from lars_jax.train.config import replace_fields
from tests.experiments.mgan.support import close

K = 3
STEPS = 3


def separate(tree):
    """Return a tree with a leaf for each generator in the place of stacked ones."""
    rest = {"second": tree["second"]}
    for k in range(K):
        first, norm = tree["first"], tree["first_norm"]
        rest[f"own{k}"] = {"kernel": first["kernel"][:, k], "bias": first["bias"][k]}
        rest[f"own{k}_norm"] = {name: norm[name][k] for name in norm}
    return rest


def weights_and_gradients():
    """Return weights, and gradients of which each generator has its own scale."""
    random = np.random.default_rng(0)

    def drawn(*shape):
        return jnp.asarray(random.normal(size=shape), jnp.float32)

    def tree():
        return {
            "first": {"kernel": drawn(5, K, 8), "bias": drawn(K, 8)},
            "first_norm": {"scale": drawn(K, 8), "bias": drawn(K, 8)},
            "second": {"kernel": drawn(8, 8), "bias": drawn(8)},
        }

    params, gradients = tree(), [tree() for _ in range(STEPS)]
    for gradient in gradients:
        scale = jnp.array([[1.0], [100.0], [0.01]])
        gradient["first"]["kernel"] = gradient["first"]["kernel"] * scale[None]
    return params, gradients


def updates_of(tx, params, gradients):
    state, found = tx.init(params), []
    update = jax.jit(tx.update)
    for gradient in gradients:
        updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        found.append(updates)
    return found


def make(rule, rate=0.5, steps=10, **fields):
    fields = {"momentum": 0.9, "trust_coefficient": 0.01} | fields
    config = replace_fields(
        Config(), optimizer=rule, generator_rate=rate, steps=steps, **fields
    )
    return make_optimizer(config, "generator")


@pytest.mark.parametrize("rule", ["lars", "lamb"])
def test_stacked_first_layers_equal_layers_of_their_own(rule):
    params, gradients = weights_and_gradients()
    tx = make(rule, weight_decay=0.1)
    stacked = updates_of(tx, params, gradients)
    apart = updates_of(tx, separate(params), [separate(part) for part in gradients])
    close([separate(one) for one in stacked], apart, rtol=2e-5, atol=1e-9)


@pytest.mark.parametrize("rule", ["lars", "lamb"])
def test_ratio_for_all_first_layers_together_would_throttle_generators(rule):
    params, gradients = weights_and_gradients()
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
def test_vectors_learn_from_0_and_weight_decay_is_of_matrices_alone(rule):
    params, gradients = weights_and_gradients()
    params["second"]["bias"] = jnp.zeros(8)
    without = updates_of(make(rule), params, gradients[:1])[0]
    decayed = updates_of(make(rule, weight_decay=0.5), params, gradients[:1])[0]
    for layer in ("first", "first_norm", "second"):
        np.testing.assert_array_equal(decayed[layer]["bias"], without[layer]["bias"])
        assert np.abs(without[layer]["bias"]).min() > 0
    for layer in ("first", "second"):
        assert np.abs(decayed[layer]["kernel"] - without[layer]["kernel"]).max() > 1e-4


def size_after(steps, weight_decay):
    """Return the weight of a logistic loss of separable data, log(1 + exp(-w))."""
    fields = {"momentum": 0.0, "trust_coefficient": 0.1, "weight_decay": weight_decay}
    tx = make("lars", 1.0, steps, **fields)

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
    params, gradients = weights_and_gradients()
    found = updates_of(make("adam"), params, gradients)
    with jax.numpy_dtype_promotion("standard"):
        expected = updates_of(optax.adam(0.5, b1=0.9, b2=0.999), params, gradients)
    # 1 - b2 is here that of a float32 number.
    close(found, expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [2.0, 2.0, 2.0, 2.0]),
        ({"warmup_steps": 4}, [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]),
        ({"decay_from": 0.5}, [2.0, 2.0, 2.0, 2.0, 2.0, 1.5, 1.0, 0.5]),
    ],
    ids=["constant", "warm-up", "decay"],
)
def test_rate_is_constant_or_warms_up_or_falls_to_0(fields, expected):
    tx = make("lars", 2.0, len(expected), momentum=0.0, **fields)
    # Vectors are not adapted, so that steps are as long as the rate.
    params = {"bias": jnp.zeros(1)}
    gradients = [{"bias": jnp.ones(1)}] * len(expected)
    found = [-float(step["bias"][0]) for step in updates_of(tx, params, gradients)]
    np.testing.assert_allclose(found, expected)


def test_each_side_has_its_own_rule_and_rate():
    config = replace_fields(
        Config(), optimizer="lars", generator_optimizer="adam", discriminator_rate=0.5
    )
    params, _ = weights_and_gradients()
    kinds = ("generator", "discriminator")
    sides: Any = [make_optimizer(config, kind).init(params) for kind in kinds]
    rates = [float(side.hyperparams["rate"]) for side in sides]
    assert rates == pytest.approx([2e-4, 0.5])
    assert jax.tree.structure(sides[0]) != jax.tree.structure(sides[1])
