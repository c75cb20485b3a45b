"""Several steps in a call of the device: the run of one step a call."""

from typing import get_args

import jax
import numpy as np
import pytest

from experiments.lars.check import check
from experiments.lars.presets import get_preset
from experiments.lars.trainer import Trainer
from lars_jax.errors import InputError
from lars_jax.train import Hook, Interrupt
from lars_jax.train.config import replace_fields
from lars_jax.train.loop import NonFiniteError
from lars_jax.train.parallel import Backend
from tests.cases import mostly_slow
from tests.experiments.lars.support import error, train

pytestmark = pytest.mark.usefixtures("tiny_network")

BASE = replace_fields(
    get_preset("smoke").config,
    global_batch=64,
    steps=12,
    devices=1,
    learning_rate=0.5,
    log_every=4,
)
CALLS = replace_fields(BASE, steps_per_call=4)


@pytest.fixture(scope="module")
def singly(tiny_network):
    """Return a run of one step a call."""
    return train(BASE)


def host(state):
    # A copy: the state itself is given to the next call.
    return jax.tree.map(np.array, jax.device_get(state))


def assert_same(found, expected):
    # The first row is the first call's, which ends with its fourth step.
    assert found[2] == pytest.approx(expected[2][1:], rel=1e-5)
    assert found[1].step == expected[1].step == 12
    assert error(found[1], expected[1]) < 1e-5


def test_rows_and_state_are_those_of_single_steps(singly):
    assert_same(train(CALLS), singly)


def test_images_that_are_fed_come_several_steps_at_a_time(singly):
    assert_same(train(replace_fields(CALLS, placement="host")), singly)


BACKENDS = {name: (name,) for name in get_args(Backend)}


@pytest.mark.parametrize("backend", mostly_slow(BACKENDS, ["jit"]))
def test_every_back_end_has_calls(singly, backend):
    found = train(replace_fields(CALLS, devices=8, backend=backend))
    assert found[2] == pytest.approx(singly[2][1:], rel=1e-4)
    assert error(found[1].params, singly[1].params) < 1e-3


def test_batches_are_those_of_their_steps_side_by_side():
    def rows(config):
        inputs = Trainer.create(config).inputs
        batches = inputs.train_batches(start=4, stop=12, seed=3, interrupt=Interrupt())
        return [jax.device_get(batch["index"]) for batch in batches]

    calls = rows(CALLS)
    assert [call.shape for call in calls] == [(64, 4)] * 2
    np.testing.assert_array_equal(np.concatenate(calls, axis=1).T, rows(BASE))


def test_value_that_is_not_finite_in_the_middle_of_a_call_is_found():
    config = replace_fields(CALLS, optimizer="sgd", learning_rate=1e30)
    with pytest.raises(NonFiniteError, match="by step 4 the loss"):
        train(config)


@pytest.mark.parametrize("every", [0.001, 0.09, 0.2])
def test_evaluations_and_checkpoints_fall_on_the_end_of_a_call(every):
    config = replace_fields(CALLS, eval_every=every, checkpoint_every=every)
    cadence = Trainer.create(config).cadence
    assert cadence.evaluate % 4 == cadence.checkpoint % 4 == 0
    assert cadence.evaluate >= 4


def test_run_goes_on_after_any_call_bit_for_bit():
    trainer, kept = Trainer.create(CALLS), {}
    hook = Hook(lambda step: step == 4, lambda step, state: kept.update(at=host(state)))
    whole, _ = trainer.fit(trainer.init(), hooks=[hook])
    again, step = trainer.fit(trainer.inputs.parallel.replicate(kept["at"]), start=4)
    assert step == 12
    jax.tree.map(np.testing.assert_array_equal, host(again), host(whole))


def test_log_that_falls_inside_of_a_call_is_refused():
    config = replace_fields(CALLS, log_every=6)
    with pytest.raises(InputError, match="log_every must be .* got 6 for 4: .* 8, or"):
        check(config)


def test_run_that_ends_inside_of_a_call_is_refused():
    trainer = Trainer.create(replace_fields(CALLS, steps=10))
    with pytest.raises(InputError, match="steps must be .* got 10 for 4: .*--steps 12"):
        trainer.init()
