"""The compiled program: any number of devices, any number of steps in a call."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.mgan.config import Config
from experiments.mgan.trainer import Trainer, many_steps
from lars_jax.train import Hook
from lars_jax.train.config import replace_fields
from tests.experiments.mgan.support import close, largest_gap, same_bits

RING = replace_fields(
    Config(),
    generators=3,
    width=16,
    noise_size=8,
    init_deviation=0.3,
    batch=64,
    fakes=16,
    steps=4,
    steps_per_call=2,
    eval_samples=30,
    devices=1,
)
DIGITS = replace_fields(
    RING,
    dataset="digits",
    network="dcgan",
    image_size=8,
    stages=2,
    width=4,
    init_deviation=0.1,
    generators=2,
)
# Biases before a normalisation have no gradient but rounding errors, of which Adam
# would make steps of full length; steps of LARS are as small as those are.
LINEAR = replace_fields(
    DIGITS, optimizer="lars", generator_rate=0.1, discriminator_rate=0.1, momentum=0.9
)


@cache
def train(config):
    """Return the state after a run, its rows, and samples."""
    trainer, rows = Trainer(config), {}

    def keep(step, row):
        rows[step] = {
            name: value
            for name, value in row.items()
            if name not in ("images_per_second", "data_wait")
        }

    state, step = trainer.fit(trainer.init(), on_metrics=keep)
    assert step == config.steps
    samples = trainer.sample(state, 20, averaged=False)
    return jax.device_get(state), rows, samples


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        pytest.param(RING, id="ring"),
        pytest.param(LINEAR, id="digits"),
    ],
)
def test_four_devices_equal_one(config):
    one, rows, samples = train(config)
    four, other_rows, other_samples = train(replace_fields(config, devices=4))
    close(four.generators.params, one.generators.params, rtol=1e-3, atol=1e-5)
    close(four.judge.params, one.judge.params, rtol=1e-3, atol=1e-5)
    close(four.average, one.average, rtol=1e-3, atol=1e-5)
    close(four.generators.model_state, one.generators.model_state, rtol=1e-3, atol=1e-5)
    close(other_rows, rows, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(samples.generator, other_samples.generator)
    np.testing.assert_allclose(
        samples.values, other_samples.values, rtol=1e-2, atol=1e-4
    )
    # They did learn something in those steps.
    before = jax.device_get(Trainer(config).init())
    assert largest_gap(before.judge.params, one.judge.params) > 1e-4
    assert largest_gap(before.generators.params, one.generators.params) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    "config", [pytest.param(RING, id="ring"), pytest.param(DIGITS, id="digits")]
)
def test_two_steps_in_a_call_equal_calls_of_one_step(config, monkeypatch):
    # By the emitters that tests compile by, a loop and its body alone round apart.
    options: dict[str, str | bool] = {"xla_cpu_use_fusion_emitters": True}
    plain = jax.stages.Lowered.compile
    monkeypatch.setattr(
        jax.stages.Lowered, "compile", lambda lowered: plain(lowered, options)
    )
    whole, *_ = train.__wrapped__(config)
    single, rows, _ = train.__wrapped__(replace_fields(config, steps_per_call=1))
    same_bits(whole, single)
    assert list(rows) == [1, 2, 3, 4]


def test_metrics_of_a_call_are_the_means_of_its_steps():
    _, rows, _ = train(replace_fields(RING, steps_per_call=1))
    _, halves, _ = train(RING)
    for name in ("loss", "classifier_loss", "classifier_accuracy", "generator_loss"):
        mean = (rows[3][name] + rows[4][name]) / 2
        np.testing.assert_allclose(halves[4][name], mean, rtol=1e-5)


def test_not_finite_in_one_step_of_a_call_is_not_lost():
    def step(state, row, shared):
        del row, shared
        bad = jnp.array([state == 1, False])
        return state + 1, {"loss": jnp.ones(()), "nonfinite": bad}

    _, metrics = many_steps(step, 4)(jnp.zeros((), int), None, {})
    np.testing.assert_array_equal(metrics["nonfinite"], [True, False])


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(RING, id="ring"),
        pytest.param(DIGITS, id="digits", marks=pytest.mark.slow),
    ],
)
def test_run_that_goes_on_from_a_state_ends_with_the_same_bits(config):
    trainer, kept = Trainer(config), {}
    hook = Hook(
        lambda step: True,
        lambda step, state: kept.update({step: jax.device_get(state)}),
    )
    whole, _ = trainer.fit(trainer.init(), hooks=[hook])
    again = trainer.parallel.replicate(kept[2])
    resumed, step = trainer.fit(again, start=2)
    assert step == 4
    same_bits(jax.device_get(whole), jax.device_get(resumed))


def test_another_seed_gives_another_game():
    one, other = (train(replace_fields(RING, seed=seed)) for seed in (0, 2))
    assert largest_gap(one[0].generators.params, other[0].generators.params) > 1e-2
    assert (one[2].values != other[2].values).all()


def test_samples_of_different_uses_and_weights_differ():
    trainer = Trainer(RING)
    state = trainer.init()
    draws = [
        trainer.sample(state, 12, averaged=averaged, use=use).values
        for averaged in (False, True)
        for use in (0, 1)
    ]
    again = trainer.sample(state, 12, averaged=False).values
    np.testing.assert_array_equal(draws[0], again)
    for i in range(4):
        for j in range(i):
            assert not np.array_equal(draws[i], draws[j])
    rows = trainer.sample_rows(state, 4, use=0)
    assert rows.shape == (4, 3, 2)
