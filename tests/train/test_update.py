"""The training primitive on losses small enough to work by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lars_jax import TrainState, lars
from lars_jax.train import update


def quadratic(params, model_state, batch, key):
    """Mean of (w - x)^2, and a running count of the examples seen."""
    del key
    errors = params["w"] - batch["x"]
    state = {"seen": model_state["seen"] + batch["x"].shape[0]}
    return jnp.mean(errors**2), (state, {"error": jnp.mean(errors)})


def start(tx):
    return TrainState.create({"w": jnp.zeros(())}, {"seen": jnp.zeros((), int)}, tx)


def test_step_is_the_optimizer_applied_to_the_gradient(key):
    tx = optax.sgd(0.25)
    batch = {"x": jnp.array([1.0, 3.0])}
    state, metrics = update(quadratic, tx, start(tx), batch, key)
    assert float(state.params["w"]) == 1.0  # 0 - 0.25 * 2 * mean(0 - x)
    assert float(metrics["loss"]) == 5.0
    assert float(metrics["error"]) == -2.0
    assert int(state.step) == 1
    assert int(state.model_state["seen"]) == 2


def test_accumulated_gradient_is_that_of_the_whole_batch(key):
    tx = lars(1.0, 0.1)
    batch = {"x": jnp.array([1.0, 3.0, -2.0, 5.0, 0.5, 7.0])}
    step = jax.jit(
        functools.partial(update, quadratic, tx), static_argnames="microbatches"
    )
    whole, whole_metrics = step(start(tx), batch, key)
    parts, parts_metrics = step(start(tx), batch, key, microbatches=3)
    np.testing.assert_allclose(parts.params["w"], whole.params["w"], rtol=1e-6)
    np.testing.assert_allclose(parts_metrics["loss"], whole_metrics["loss"], rtol=1e-6)
    assert int(parts.model_state["seen"]) == 6


def test_microbatches_take_every_example_once(key):
    seen = []

    def loss_fn(params, model_state, batch, key):
        del key
        seen.append(batch["x"].shape)
        return jnp.sum(params["w"] * batch["x"]) / 2, (model_state, {})

    tx = optax.sgd(1.0)
    batch = {"x": jnp.array([1.0, 10.0, 100.0, 1000.0])}
    state, _ = update(loss_fn, tx, start(tx), batch, key, microbatches=2)
    assert set(seen) == {(2,)}
    assert float(state.params["w"]) == -1111.0 / 4  # mean over the two parts


def test_microbatches_that_do_not_divide_are_refused(key):
    tx = optax.sgd(1.0)
    batch = {"x": jnp.ones(4)}
    with pytest.raises(ValueError, match="3 parts of 4 examples"):
        update(quadratic, tx, start(tx), batch, key, microbatches=3)


def batch_of_ten(params, model_state, batch, key):
    """A loss whose state after a part is the mean of that part."""
    del key
    loss = jnp.mean(params["w"] * batch["x"])
    return loss, (model_state | {"mean": jnp.mean(batch["x"])}, {})


def test_states_of_parts_are_merged_from_their_mean_and_variance(key):
    tx = optax.sgd(1.0)
    state = TrainState.create({"w": jnp.zeros(())}, {"mean": jnp.float32(100.0)}, tx)
    batch = {"x": jnp.array([1.0, 3.0, 7.0, 9.0])}
    state, _ = update(
        batch_of_ten,
        tx,
        state,
        batch,
        key,
        microbatches=2,
        unit=2,
        merge=lambda mean, variance: {"mean": mean["mean"], "of": variance["mean"]},
    )
    # The parts hold 1, 3 and 7, 9.
    assert state.model_state == {"mean": 5.0, "of": 9.0}


@pytest.mark.parametrize(
    ("unit", "means"), [(1, {"a": 4.0, "b": 6.0}), (2, {"a": 2.0, "b": 8.0})]
)
def test_units_are_dealt_out_whole(key, unit, means):
    tx = optax.sgd(1.0)
    state = TrainState.create({"w": jnp.zeros(())}, {"mean": jnp.float32(0.0)}, tx)
    batch = {"x": jnp.array([1.0, 3.0, 7.0, 9.0])}

    def ends(mean, variance):
        deviation = jnp.sqrt(variance["mean"])
        return {"a": mean["mean"] - deviation, "b": mean["mean"] + deviation}

    state, _ = update(
        batch_of_ten, tx, state, batch, key, microbatches=2, unit=unit, merge=ends
    )
    assert jax.tree.map(float, state.model_state) == pytest.approx(means)


def test_units_that_do_not_fit_are_refused(key):
    tx = optax.sgd(1.0)
    batch = {"x": jnp.ones(6)}
    with pytest.raises(ValueError, match="2 parts of 6 .* in units of 2"):
        update(quadratic, tx, start(tx), batch, key, microbatches=2, unit=2)


def test_accumulation_keeps_one_microbatch_in_memory(key):
    def loss_fn(params, model_state, batch, key):
        del key
        hidden = jnp.tanh(batch["x"] @ params["w"])
        return jnp.mean((hidden @ params["w"].T) ** 2), (model_state, {})

    tx = optax.sgd(0.1)
    batch = {"x": jnp.ones((4096, 8))}
    state = TrainState.create({"w": jnp.ones((8, 64))}, {}, tx)

    def temporary_bytes(parts):
        step = jax.jit(
            lambda state, batch: update(
                loss_fn, tx, state, batch, key, microbatches=parts
            )
        )
        analysis = step.lower(state, batch).compile().memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    assert temporary_bytes(16) < temporary_bytes(1) / 4


def test_leaves_that_are_not_finite_are_pointed_out(key):
    def loss_fn(params, model_state, batch, key):
        del batch, key
        loss = jnp.sum(jnp.sqrt(params["bad"])) + jnp.sum(params["good"])
        return loss, (model_state, {})

    tx = optax.sgd(0.1)
    params = {"bad": jnp.zeros(2), "good": jnp.ones(2)}
    state = TrainState.create(params, {}, tx)
    _, metrics = update(loss_fn, tx, state, {"x": jnp.ones(1)}, key)
    assert metrics["nonfinite"].tolist() == [True, False]


def test_random_key_differs_between_microbatches(key):
    def loss_fn(params, model_state, batch, key):
        noise = jax.random.uniform(key)
        return params["w"] * noise + 0 * batch["x"].sum(), (model_state, {})

    tx = optax.sgd(1.0)
    # The same key once more: a key is not to be used twice.
    twin = jax.random.clone(key)
    batch = {"x": jnp.ones(2)}
    state, _ = update(loss_fn, tx, start(tx), batch, key, microbatches=2)
    first, last = (jax.random.uniform(part) for part in jax.random.split(twin, 2))
    assert float(first) != float(last)
    # d/dw (w * noise) is the noise, averaged over the two parts.
    assert float(-state.params["w"]) == pytest.approx(float(first + last) / 2)
