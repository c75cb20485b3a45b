"""The triplet network learns what pairs say, on any mesh and after any stop."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import linen as nn

from experiments.transitive import triplet
from experiments.transitive.batches import PairData, Sampler
from experiments.transitive.config import Config, ModelConfig, TripletConfig
from experiments.transitive.pairs import INTER, INTRA, TRANSITIVE
from experiments.transitive.triplet import TripletProgram
from lars_jax import InputError
from lars_jax.data import ArraySource
from lars_jax.models import chain, from_linen, vgg_head
from lars_jax.optim import leaf_names
from lars_jax.runs import Experiment, Preset
from lars_jax.runs.restore import restore
from lars_jax.runs.train import train

SIDE, EACH, COLOURS = 16, 12, 4
CONFIG = Config(
    model=ModelConfig(width=1 / 32),
    triplet=TripletConfig(
        global_batch=32,
        steps=30,
        optimizer="adam",
        learning_rate=2e-3,
        weight_decay=0.0,
        hidden=1024,
        embedding=1024,
        init="random",
    ),
)


def colours(seed=0):
    """Return pairs of images of one colour: even numbers are seeds, odd ones ends."""
    random = np.random.default_rng(seed)
    count = EACH * COLOURS
    colour = np.arange(count) % COLOURS
    tone = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])[colour]
    noise = random.uniform(0, 0.5, (count, SIDE, SIDE, 3))
    image = (127 * (tone[:, None, None] + noise)).astype(np.uint8)
    nodes, kind = [], []
    for a in range(count):
        for b in range(a + 1, count):
            if colour[a] == colour[b]:
                nodes.append((a, b))
                kind.append((INTER, INTRA, TRANSITIVE)[(a + b) // COLOURS % 3])
    label = np.zeros(count, np.int32)
    return PairData(
        ArraySource("colours", ("crop",), image, label),
        np.arange(count),
        np.array(nodes),
        np.array(kind, np.uint8),
        colour.astype(np.int32),
    )


class Small(nn.Module):
    """Stands in for the convolutions of VGG16, which take ten seconds to compile."""

    @nn.compact
    def __call__(self, images, *, train):
        x = nn.relu(nn.Conv(8, (3, 3), strides=2, name="conv1_1")(images))
        return nn.relu(nn.Conv(8, (3, 3), strides=2, name="conv1_2")(x))


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    network = chain(trunk=from_linen(Small()), head=vgg_head((32, 16)))
    monkeypatch.setattr(triplet, "triplet_network", lambda *_: network)


@pytest.fixture(scope="module")
def data():
    return colours()


def changed(**fields):
    return replace(CONFIG, triplet=replace(CONFIG.triplet, **fields))


def test_pairs_of_a_batch_are_dealt_out_in_their_shares(data):
    sampler = Sampler.create(data, changed(global_batch=36).triplet)
    dealt = [sampler.pairs(0, step) for step in range(40)]
    kinds = np.bincount(data.kind[np.concatenate(dealt)], minlength=3)
    assert kinds.tolist() == [0, 40 * 4, 40 * 14]
    # Each comes once before one comes again.
    pool = data.of_kind(INTRA)
    order = np.concatenate(dealt)[data.kind[np.concatenate(dealt)] == INTRA]
    assert sorted(order[: len(pool)]) == pool.tolist()
    assert np.array_equal(sampler.pairs(0, 7), dealt[7])
    assert not np.array_equal(sampler.pairs(1, 7), dealt[7])


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({"transitive_share": 1.0}, {TRANSITIVE}),
        ({"transitive_share": 0.0}, {INTRA}),
        ({"across": "inter", "transitive_share": 1.0}, {INTER}),
        ({"across": "both", "transitive_share": 1.0}, {INTER, TRANSITIVE}),
    ],
)
def test_share_and_kinds_are_chosen(data, fields, kinds):
    sampler = Sampler.create(data, changed(**fields).triplet)
    dealt = np.concatenate([sampler.pairs(0, step) for step in range(20)])
    assert set(data.kind[dealt]) == kinds


def test_batch_that_cannot_be_made_is_refused(data):
    with pytest.raises(InputError, match="two of each pair; got 33"):
        Sampler.create(data, changed(global_batch=33).triplet)
    none = replace(data, kind=np.full_like(data.kind, TRANSITIVE))
    with pytest.raises(InputError, match="intra pairs; there are none"):
        Sampler.create(none, CONFIG.triplet)


def losses(config, data):
    program = TripletProgram(config, data)
    found = []
    state, _ = program.fit(
        program.init(), on_metrics=lambda step, row: found.append(float(row["loss"]))
    )
    return program, jax.device_get(state), found


@pytest.mark.slow
@pytest.mark.parametrize(
    "negatives", ["random", pytest.param("all", marks=pytest.mark.slow)]
)
def test_images_of_one_colour_come_to_lie_together(data, negatives):
    config = replace(changed(negatives=negatives), devices=1)
    program, state, found = losses(config, data)
    assert found[0] > 0.3
    assert np.mean(found[-5:]) < 0.2
    evaluation = program.evaluate(state)
    assert evaluation["count"] == 20 * 16
    assert evaluation["positive"] + 0.4 < evaluation["negative"]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "lars", "lamb"])
def test_every_rule_takes_a_step_and_measures_layers(data, optimizer):
    config = replace(changed(optimizer=optimizer, steps=2, warmup_steps=1), devices=1)
    program = TripletProgram(config, data)
    seen = []
    before = jax.device_get(program.init().params)
    state, step = program.fit(
        program.init(), on_metrics=lambda step, row: seen.append(row)
    )
    assert step == 2
    assert not np.array_equal(
        before["head"]["fc7"]["kernel"], state.params["head"]["fc7"]["kernel"]
    )
    assert set(program.layers(1, seen[0]) or ()) >= {
        "head/fc7/kernel",
        "trunk/conv1_1/bias",
    }


@pytest.mark.parametrize("steps", [1, 200, 1500, 3200])
def test_layers_are_among_the_rows_that_are_logged(data, steps):
    program = TripletProgram(replace(changed(steps=steps), devices=1), data)
    norms = {"layer_norms": np.zeros((len(leaf_names(program.like().params)), 4))}
    logged = {1, *range(0, steps, program.log_every), steps} - {0}
    rows = sum(program.layers(step, norms) is not None for step in logged)
    assert rows == 1 or 10 <= rows <= 13


@pytest.mark.slow
def test_devices_and_reading_from_disk_change_nothing_but_rounding(data, monkeypatch):
    config = changed(negatives="all", steps=4)
    _, _, alone = losses(replace(config, devices=1), data)
    _, _, split = losses(replace(config, devices=8), data)
    np.testing.assert_allclose(split, alone, rtol=2e-4)
    monkeypatch.setattr("experiments.transitive.triplet.DEVICE_LIMIT", 0)
    _, _, fed = losses(replace(config, devices=1), data)
    assert fed == alone


@pytest.mark.slow
def test_run_that_was_stopped_ends_in_the_same_bits(data, tmp_path):
    config = replace(changed(steps=6), devices=1)

    def experiment(fails_at):
        class Failing(TripletProgram):
            def fit(self, state, *, hooks, **options):
                with monkeypatch_step(self, fails_at):
                    return super().fit(state, hooks=hooks, **options)

        return Experiment(
            command="python -m experiments.transitive",
            summary="",
            config=Config,
            presets={"small": Preset("small", config, "", "", "")},
            default="small",
            check=lambda config: config,
            build=lambda config, sources: Failing(config, data),
        )

    whole = train(experiment(None), config, tmp_path / "whole")
    assert whole.status == 0
    with pytest.raises(RuntimeError, match="power"):
        train(experiment(4), config, tmp_path / "cut")
    assert train(experiment(None), config, tmp_path / "cut", resume="yes").status == 0
    leaves = [
        jax.tree.leaves(jax.device_get(restore(experiment(None), place).state))
        for place in (tmp_path / "whole", tmp_path / "cut")
    ]
    for one, other in zip(*leaves, strict=True):
        np.testing.assert_array_equal(one, other)


class monkeypatch_step:
    """Let the step of a number fail, as a loss of power would."""

    def __init__(self, program, fails_at):
        self.program, self.fails_at = program, fails_at

    def __enter__(self):
        self.kept = self.program.train_step
        calls = iter(range(1, 1000))
        kept, fails_at = self.kept, self.fails_at

        class Step:
            def under(self, interrupt, *arguments):
                if next(calls) == fails_at:
                    raise RuntimeError("power")
                return kept.under(interrupt, *arguments)

        self.program.train_step = Step()

    def __exit__(self, *error):
        self.program.train_step = self.kept
