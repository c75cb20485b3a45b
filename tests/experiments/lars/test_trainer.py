"""The same run on any mesh, in any parts, by any back-end, fed or from the device."""

import itertools
from types import SimpleNamespace
from typing import Any, cast, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.lars.check import check, check_warmup
from experiments.lars.config import VariantName
from experiments.lars.experiment import LARS, main
from experiments.lars.inputs import load_inputs, open_sources
from experiments.lars.optimizer import learning_rate
from experiments.lars.presets import PRESETS, get_preset
from experiments.lars.program import prepare
from experiments.lars.trainer import Trainer
from lars_jax.data import KNOWN_SIZES
from lars_jax.errors import InputError
from lars_jax.train import DataParallel, Interrupt, data_mesh
from lars_jax.train.config import replace_fields
from lars_jax.train.parallel import Backend
from tests.cases import mostly_slow
from tests.data.support import encoded
from tests.experiments.lars.conftest import SMOKE
from tests.experiments.lars.support import error, train

pytestmark = pytest.mark.usefixtures("tiny_network")

BASE = replace_fields(
    get_preset("smoke").config,
    global_batch=64,
    steps=6,
    optimizer="sgd",
    learning_rate=0.02,
)
"""SGD, for LARS would hide a gradient that is too large."""

BACKENDS = {name: (name,) for name in get_args(Backend)}

# A clip makes the rate the highest that a layer may have.
RATES = dict.fromkeys(get_args(VariantName), 0.5)
RATES |= {"larc_clip": 0.1, "larc_apex_clip": 0.1}
RULES = {
    name: {"optimizer": "lars", "variant": name, "learning_rate": rate}
    for name, rate in RATES.items()
} | {"lamb": {"optimizer": "lamb", "learning_rate": 0.02}}


@pytest.mark.parametrize(
    "rule", mostly_slow({name: (rule,) for name, rule in RULES.items()}, ["lamb"])
)
def test_every_rule_trains(rule):
    trainer = Trainer.create(replace_fields(BASE, devices=1, **rule))
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


@pytest.fixture(scope="module")
def alone(tiny_network):
    """Return runs on one device, by their span."""
    spans = {4: 4, 8: 8, None: "global"}
    return {
        span: train(replace_fields(BASE, devices=1, bn_span=asked))
        for span, asked in spans.items()
    }


def assert_same(found, expected):
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-4)
    assert error(found[1].params, expected[1].params) < 1e-3
    assert error(found[1].model_state, expected[1].model_state) < 1e-3


@pytest.mark.parametrize("backend", mostly_slow(BACKENDS, ["jit"]))
def test_global_span_is_the_whole_batch_on_any_mesh(alone, backend):
    found = train(replace_fields(BASE, devices=8, backend=backend))
    assert_same(found, alone[None])
    trainer, state, _ = found
    evaluated = trainer.evaluate(trainer.inputs.parallel.replicate(state))
    assert evaluated["count"] == 360
    expected = alone[None][0].evaluate(alone[None][1])
    assert evaluated["loss"] == pytest.approx(expected["loss"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("backend", get_args(Backend))
@pytest.mark.parametrize(
    ("parts", "span"), mostly_slow({"1-8": (1, 8), "2-4": (2, 4)}, ["2-4"])
)
def test_span_per_device_is_a_number_from_there_on(alone, backend, parts, span):
    change = {"backend": backend, "bn_span": "per_device", "microbatches": parts}
    found = train(check(replace_fields(BASE, devices=8, **change)))
    assert found[0].config.model.bn_span == span
    assert_same(found, alone[span])
    # The other spans give other runs, or this would not have told them apart.
    others = [alone[other][1] for other in alone if other != span]
    assert all(error(found[1].params, other.params) > 3e-3 for other in others)


@pytest.mark.slow
@pytest.mark.parametrize("backend", get_args(Backend))
def test_lars_ends_where_it_does_on_one_device(backend):
    config = replace_fields(BASE, optimizer="lars", learning_rate=0.5, devices=1)
    found = train(replace_fields(config, devices=8, backend=backend))
    assert_same(found, train(config))


def test_images_that_are_fed_train_like_those_on_the_device(alone):
    found = train(replace_fields(BASE, devices=1, placement="host"))
    np.testing.assert_allclose(found[2], alone[None][2], rtol=1e-6)
    assert error(found[1].params, alone[None][1].params) < 1e-6
    assert found[0].evaluate(found[1]) == alone[None][0].evaluate(alone[None][1])


@pytest.mark.parametrize(("batch", "span"), [(1200, 100), (1280, 640), (1400, 1400)])
def test_estimate_takes_whole_spans(batch, span):
    config = replace_fields(
        BASE, global_batch=batch, bn_span=span, batch_statistics="running"
    )
    inputs = load_inputs(config, DataParallel(data_mesh(1)), open_sources(config))
    batches = inputs.calibration_batches(seed=0, interrupt=Interrupt())
    sizes = {len(rows["index"]) for rows in batches}
    assert all(size % span == 0 or size <= span for size in sizes)


@pytest.mark.parametrize("placement", ["device", "host"])
def test_middle_of_what_is_evaluated_is_seen_wherever_it_lies(placement, tmp_path):
    # Twice as wide as high, and white in the middle.
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 4:12] = 255
    for split, name in itertools.product(("train", "test"), ("cat", "dog")):
        folder = tmp_path / split / name
        folder.mkdir(parents=True)
        for number in range(2):
            (folder / f"{number}.png").write_bytes(encoded(pixels))
    own = {"dataset": f"folder:{tmp_path}", "resize": 8, "placement": placement}
    config = replace_fields(BASE, **own, global_batch=4, evaluation_fit="short_side")
    inputs = load_inputs(config, DataParallel(data_mesh(1)), open_sources(config))
    found = inputs.evaluation.arrays.get("image")
    if found is None:
        (batch,) = inputs.evaluation_batches(Interrupt())
        seen = batch["image"]
        assert not inputs.train.arrays
    else:
        seen = found.rows
        # What is trained on is warped, as it was.
        assert np.asarray(inputs.train.arrays["image"].rows).mean() < 200
    assert (np.asarray(seen) == 255).all()


def test_schedule_ends_with_a_run_whose_data_have_become_fewer_or_more():
    config = replace_fields(BASE, steps=None, epochs=2.0, holdout=600, devices=1)
    config = replace_fields(config, warmup_epochs=0.5)
    short = Trainer.create(config)
    state = Trainer.create(replace_fields(config, holdout=1000)).init()
    own = short.resumed(state).opt_state
    fresh = short.init().opt_state
    assert state.opt_state.hyperparams["total_steps"] < short.cadence.total
    assert {k: float(v) for k, v in own.hyperparams.items()} == {
        k: float(v) for k, v in fresh.hyperparams.items()
    }
    last = np.int32(short.cadence.total - 1)
    assert learning_rate(config.optimizer, own, jnp.asarray(last)) > 0
    with pytest.raises(InputError, match="warmup_epochs must end before the run"):
        Trainer.create(replace_fields(config, epochs=0.1)).resumed(state)


OFTEN = {"eval_every": 0.001, "checkpoint_every": 5.0}
PACES = {name: (preset.config, 0.25) for name, preset in PRESETS.items()}
# Less than a step is one.
PACES["every step"] = replace_fields(BASE, **OFTEN), 50.0


@pytest.mark.parametrize(("config", "error"), PACES.values(), ids=PACES)
def test_what_falls_together_in_epochs_does_so_in_steps(config, error):
    known = KNOWN_SIZES.get(config.data.dataset)
    examples = 1_281_167 if known is None else known.train
    inputs: Any = SimpleNamespace(
        steps_per_epoch=examples / config.global_batch,
        total_steps=config.total_steps(examples),
    )
    check_warmup(config, inputs.total_steps, inputs.steps_per_epoch)
    cadence = Trainer(config, inputs, cast(Any, None)).cadence
    rarer = max(cadence.evaluate, cadence.checkpoint)
    assert rarer % min(cadence.evaluate, cadence.checkpoint) == 0
    per_epoch = inputs.steps_per_epoch
    assert cadence.evaluate == pytest.approx(config.eval_every * per_epoch, rel=error)
    wanted = config.checkpoint_every * per_epoch
    assert cadence.checkpoint == pytest.approx(wanted, rel=0.25)


def test_batch_statistics_are_of_the_seed_that_a_run_has():
    config = replace_fields(BASE, devices=1, bn_span=64, batch_statistics="estimated")
    trainer = Trainer.create(config)
    state, _ = trainer.fit(trainer.init(replace_fields(config, seed=1)), seed=1)
    alone = Trainer.create(replace_fields(config, seed=1))
    found = trainer.evaluate(state, seed=1)
    assert found == alone.evaluate(alone.fit(alone.init())[0])
    assert found["loss"] != trainer.evaluate(state)["loss"]


@pytest.mark.parametrize("placement", ["device", "host"])
def test_images_that_are_not_cropped_are_mirrored_all_the_same(placement):
    config = replace_fields(BASE, devices=1, augmentation="none", flip=True)
    trainer = Trainer.create(replace_fields(config, placement=placement))
    inputs = trainer.inputs
    shared = inputs.shared(inputs.train, 0)
    batches = inputs.train_batches(start=0, stop=1, seed=0, interrupt=Interrupt())
    (batch,) = batches
    plain, seen = (
        np.asarray(prepare(config, inputs.facts, batch, shared, train=train))
        for train in (False, True)
    )
    mirrored = (seen == plain[:, :, ::-1]).all(axis=(1, 2, 3))
    kept = (seen == plain).all(axis=(1, 2, 3))
    assert (mirrored | kept).all()
    assert 20 < mirrored.sum() < 44


def test_a_run_is_evaluated_on_as_many_devices_as_share_out_its_batch():
    found = LARS.to_evaluate(replace_fields(BASE, global_batch=12))
    assert (found.devices, found.microbatches) == (4, 1)
    assert LARS.to_evaluate(replace_fields(BASE, devices=2)).devices == 2
    assert LARS.to_evaluate(replace_fields(BASE, devices=64)).devices == 8


def test_held_out_examples_are_evaluated_in_place_of_the_test_split():
    trainer = Trainer.create(replace_fields(BASE, devices=1, holdout=100))
    assert len(trainer.inputs.train) == 1337
    assert trainer.evaluate(trainer.init())["count"] == 100


def test_run_that_diverges_says_where_and_keeps_its_checkpoints(tmp_path, capsys):
    words = [*SMOKE, "--optimizer", "sgd", "--learning-rate", "1e30", "--steps", "30"]
    status = main([*words, "--run-dir", str(tmp_path / "run")])
    said = capsys.readouterr().err.splitlines()[-1]
    assert status == 3
    assert "training must stay finite; at step" in said
    assert "conv1/kernel" in said or "no leaf" in said
