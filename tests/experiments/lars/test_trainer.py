"""The same run on any mesh, by either back-end, fed or from the device."""

from typing import get_args

import jax
import numpy as np
import pytest

from experiments.lars.config import VariantName
from experiments.lars.inputs import load_inputs
from experiments.lars.presets import get_preset
from experiments.lars.trainer import Trainer
from lars_jax.train import DataParallel, Interrupt, data_mesh
from lars_jax.train.config import replace_fields
from lars_jax.train.parallel import Backend
from tests.cases import mostly_slow

BASE = replace_fields(
    get_preset("smoke").config, global_batch=32, steps=20, learning_rate=0.5, devices=1
)


def train(config):
    """Return parameters, losses and the evaluation after a run."""
    trainer = Trainer.create(config)
    losses = []
    state, _ = trainer.fit(
        trainer.init(),
        on_metrics=lambda step, row: losses.append(float(row["loss"])),
    )
    return jax.device_get(state.params), losses, trainer.evaluate(state)


@pytest.fixture(scope="module")
def alone():
    """Return what one device makes of the run, for each optimizer."""
    sgd = replace_fields(BASE, optimizer="sgd", learning_rate=0.02)
    return {"lars": train(BASE), "sgd": train(sgd)}


# A clip makes the rate the highest that a layer may have.
RATES = dict.fromkeys(get_args(VariantName), 0.5)
RATES |= {"larc_clip": 0.1, "larc_apex_clip": 0.1}
RULES = {
    name: {"variant": name, "learning_rate": rate} for name, rate in RATES.items()
} | {"lamb": {"optimizer": "lamb", "learning_rate": 0.02}}


@pytest.mark.parametrize(
    "rule", mostly_slow({name: (rule,) for name, rule in RULES.items()}, ["lamb"])
)
def test_every_rule_trains(rule):
    config = replace_fields(BASE, steps=6, **rule)
    trainer = Trainer.create(config)
    losses, norms = [], []

    def record(step, row):
        losses.append(float(row["loss"]))
        norms.append(np.asarray(row["layer_norms"]))

    before = trainer.init()
    weights = jax.device_get(before.params)
    state, _ = trainer.fit(before, on_metrics=record)
    assert np.isfinite(losses).all()
    assert np.isfinite(norms).all()
    assert np.shape(norms)[0] == 6
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), weights, state.params)
    assert all(distance > 0 for distance in jax.tree.leaves(moved))
    assert trainer.evaluate(state)["count"] == 360


def assert_same(found, expected, tolerance):
    np.testing.assert_allclose(found[1], expected[1], rtol=tolerance)
    for left, right in zip(
        jax.tree.leaves(found[0]), jax.tree.leaves(expected[0]), strict=True
    ):
        scale = np.abs(right).max() + 1e-3
        np.testing.assert_allclose(left, right, rtol=0, atol=tolerance * scale)
    assert found[2]["count"] == expected[2]["count"] == 360


@pytest.mark.parametrize(
    ("backend", "optimizer"),
    mostly_slow(
        {
            f"{backend}-{optimizer}": (backend, optimizer)
            for backend in get_args(Backend)
            for optimizer in ("lars", "sgd")
        },
        ["jit-lars", "pmap-sgd"],
    ),
)
def test_eight_devices_end_where_one_does(alone, backend, optimizer):
    rate = {"lars": 0.5, "sgd": 0.02}[optimizer]
    config = replace_fields(
        BASE, devices=8, backend=backend, optimizer=optimizer, learning_rate=rate
    )
    assert_same(train(config), alone[optimizer], 2e-3)


# Dropout, batch statistics and accumulation: what depends on the mesh if anything does.
PARTS = replace_fields(
    BASE, network="alexnet_bn", bn_span=2, optimizer="sgd", learning_rate=0.01, steps=3
)


@pytest.fixture(scope="module")
def whole():
    """Return what one device makes of whole batches of AlexNet."""
    return train(PARTS)


@pytest.mark.slow
@pytest.mark.parametrize("backend", get_args(Backend))
def test_dropout_and_statistics_do_not_depend_on_mesh_or_parts(whole, backend):
    config = replace_fields(PARTS, devices=8, backend=backend, microbatches=2)
    assert_same(train(config), whole, 1e-3)


def test_images_that_are_fed_train_like_those_on_the_device(alone):
    found = train(replace_fields(BASE, placement="host"))
    assert_same(found, alone["lars"], 1e-6)
    assert found[2] == alone["lars"][2]


@pytest.mark.parametrize(("batch", "span"), [(1200, 100), (1280, 640), (1400, 1400)])
def test_estimate_takes_whole_spans(batch, span):
    config = replace_fields(
        BASE, global_batch=batch, bn_span=span, batch_statistics="running"
    )
    inputs = load_inputs(config, DataParallel(data_mesh(1)))
    batches = inputs.calibration_batches(seed=0, interrupt=Interrupt())
    sizes = {len(rows["index"]) for rows in batches}
    assert all(size % span == 0 or size <= span for size in sizes)


def test_held_out_examples_are_evaluated_in_place_of_the_test_split():
    trainer = Trainer.create(replace_fields(BASE, holdout=100))
    assert len(trainer.inputs.train) == 1337
    assert trainer.evaluate(trainer.init())["count"] == 100


@pytest.mark.slow
def test_estimated_statistics_mend_what_few_large_steps_leave_behind():
    # Twenty-four steps of 1024 at a constant rate: the weights have run away from the
    # running average.
    config = replace_fields(
        BASE,
        optimizer="sgd",
        global_batch=1024,
        steps=24,
        learning_rate=0.2,
        decay_power=0.0,
    )
    accuracy = {}
    trainer = Trainer.create(config)
    state, _ = trainer.fit(trainer.init())
    for choice in ("running", "estimated", "auto"):
        chosen = replace_fields(config, batch_statistics=choice)
        kin = Trainer(chosen, trainer.inputs, trainer.program)
        accuracy[choice] = kin.evaluate(state)["accuracy"]
    assert accuracy["estimated"] > accuracy["running"] + 0.2
    assert accuracy["auto"] == accuracy["estimated"]
