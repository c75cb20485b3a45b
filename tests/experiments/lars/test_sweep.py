"""One compiled program trains what a program of each run trains."""

from unittest import mock

import jax
import numpy as np
import pytest

from experiments.lars import sweep as module
from experiments.lars.cells import cell_config
from experiments.lars.config import Config
from experiments.lars.presets import get_preset
from experiments.lars.sweep import Sweep, obstacle
from experiments.lars.trainer import Trainer
from lars_jax.data import hold_out, to_arrays
from lars_jax.data.digits import digits_source
from lars_jax.train import NonFiniteError
from lars_jax.train.config import replace_fields
from tests.cases import mostly_slow

RULES = ("lars", "nesterov", "lamb")
BATCHES = (32, 96)


@pytest.fixture(scope="module")
def base(tiny_network):
    config = get_preset("digits").config
    return replace_fields(config, devices=1, bn_span=32, steps=3, warmup_epochs=0.0)


@pytest.fixture(scope="module")
def sweep(base):
    cells = [cell_config(base, name, batch) for name in RULES for batch in BATCHES]
    assert obstacle(cells) is None
    return Sweep(cells)


def leaves(state):
    return jax.tree.leaves((state.params, state.model_state))


CASES = {f"{batch}-{name}": (batch, name) for batch in BATCHES for name in RULES}


@pytest.mark.parametrize(("batch", "name"), mostly_slow(CASES, ["96-lars"]))
def test_a_run_is_that_of_its_own_program(base, sweep, batch, name):
    config = replace_fields(cell_config(base, name, batch), learning_rate=0.02, seed=3)
    trainer = sweep.trainer(config)
    drawn = trainer.init()
    apart = Trainer.create(replace_fields(config, microbatches=batch // 32))
    alone = apart.init()
    for ours, theirs in zip(leaves(drawn), leaves(alone), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    found, step = trainer.fit(drawn)
    expected, _ = apart.fit(alone)
    assert (step, int(found.step)) == (3, 3)
    # Sums of three steps in another order, each of at most 2^-23 of what it adds up.
    for ours, theirs in zip(leaves(found), leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    ours, theirs = trainer.evaluate(found), apart.evaluate(expected)
    assert ours["count"] == theirs["count"] == 360
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


def test_all_runs_are_one_compilation(base, sweep):
    trainer = sweep.trainer(cell_config(base, "lars", 32))
    trainer.fit(trainer.init())
    with mock.patch.object(module, "update_in_parts") as traced:
        config = replace_fields(cell_config(base, "lamb", 96), holdout=200)
        trainer = sweep.trainer(replace_fields(config, learning_rate=0.5, steps=20))
        state, step = trainer.fit(trainer.init())
    assert not traced.called
    assert step == 20
    assert trainer.evaluate(state)["count"] == 200


def test_examples_held_out_are_not_trained_on(sweep):
    train, _ = hold_out(digits_source("train"), 200)
    found = sweep._arrays(200)
    kept = to_arrays(train)
    images = found["image"][np.arange(len(kept))]
    np.testing.assert_array_equal(images, kept.image)
    np.testing.assert_array_equal(found["label"][: len(kept)], kept.label)
    assert len(found["label"]) == 1437
    assert not np.any(found["image"].rows[len(kept) :])


def test_an_epoch_is_several_calls_of_the_program(base, sweep):
    config = replace_fields(cell_config(base, "nesterov", 96), steps=16)
    trainer = sweep.trainer(config)
    state, metrics, step = sweep.steps(trainer.init(), trainer.trainer, 0, 0)
    assert (step, int(state.step)) == (14, 14)
    state, metrics, step = sweep.steps(state, trainer.trainer, step, 0)
    assert (step, int(state.step)) == (16, 16)
    assert metrics["finite"]


def test_a_run_that_diverges_ends_there(base, sweep):
    config = replace_fields(cell_config(base, "nesterov", 96), learning_rate=1e30)
    trainer = sweep.trainer(config)
    state, metrics, _ = sweep.steps(trainer.init(), trainer.trainer, 0, 0)
    assert not metrics["finite"]
    assert int(state.step) < 3
    with pytest.raises(NonFiniteError, match="lower the learning rate"):
        trainer.fit(trainer.init())


def test_a_warm_up_is_of_the_batch_and_not_of_its_parts(base):
    config = replace_fields(base, warmup_epochs=1.0, steps=20)
    cells = [cell_config(config, "sgd", batch) for batch in (128, 1024)]
    for trainer in map(Sweep(cells).trainer, cells):
        assert trainer.init().step == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "--bn-span"),
        ({"bn_span": 48}, "divisor of 16"),
        ({"bn_span": 32, "backend": "pmap"}, "--backend jit"),
        ({"bn_span": 32, "state_sharding": "zero1"}, "--state-sharding none"),
        ({"bn_span": 32, "init_from": "weights.npz"}, "--init-from"),
        ({"bn_span": 32, "microbatches": 2}, "--microbatches"),
        ({"bn_span": 32, "placement": "host"}, "--placement"),
        ({"bn_span": 32, "augmentation": "random_resized_crop"}, "--augmentation"),
        ({"bn_span": 32, "devices": 3}, "3 devices"),
    ],
)
def test_runs_that_cannot_share_a_program_say_why(changes, reason):
    config = replace_fields(Config(), **{"devices": 1} | changes)
    cells = [cell_config(config, "lars", batch) for batch in BATCHES]
    found = obstacle(cells)
    assert found is not None
    assert reason in found
