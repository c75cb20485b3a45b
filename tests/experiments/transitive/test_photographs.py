"""Tracks of photographs, what is held out of them, and how features are tried."""

import io
import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments.transitive.batches import Sampler, pair_data
from experiments.transitive.compare import markdown, run_cells, summarise
from experiments.transitive.config import (
    ClusterConfig,
    Config,
    EvaluationConfig,
    TrackingConfig,
    TripletConfig,
)
from experiments.transitive.eth80 import read_eth80
from experiments.transitive.evaluation import probe
from experiments.transitive.experiment import main
from experiments.transitive.graph import write_graph
from experiments.transitive.photographs import (
    Photographs,
    photograph_tracks,
    read_photographs,
    split_things,
    training_photographs,
)
from experiments.transitive.presets import PRESETS
from experiments.transitive.probes import linear_accuracy
from experiments.transitive.ranking import legal_negatives
from experiments.transitive.shards import Crops
from experiments.transitive.truth import find_labels
from lars_jax.errors import InputError
from lars_jax.train import Interrupt
from lars_jax.train.config import replace_fields

pytest.importorskip("cv2")
pytest.importorskip("faiss")

CATEGORIES, OBJECTS, SIDE = 3, 6, 32
AZIMUTH = np.round(np.arange(16) * 22.5).astype(np.int32)


def photograph(category, thing, view):
    """Return a bar of the category's colour that turns, on the thing's own ground."""
    image = np.full((SIDE, SIDE, 3), 40 + 15 * thing, np.uint8)
    place = 2 + view
    image[4:28, place : place + 8, category] = 230
    image[4 + 2 * thing : 8 + 2 * thing, :, category] = 180
    return image


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    names = ("label", "object", "azimuth")
    rows = [
        (category, thing, view)
        for category in range(CATEGORIES)
        for thing in range(OBJECTS)
        for view in range(16)
    ]
    files = []
    for row in rows:
        content = io.BytesIO()
        Image.fromarray(photograph(*row)).save(content, "JPEG", quality=95)
        files.append(np.frombuffer(content.getvalue(), np.uint8))
    columns = dict(zip(names, np.array(rows, np.int32).T, strict=True))
    columns["azimuth"] = AZIMUTH[columns["azimuth"]]
    path = tmp_path_factory.mktemp("photographs") / "some.npz"
    np.savez(
        path,
        data=np.concatenate(files),
        ends=np.cumsum([len(one) for one in files]),
        elevation=np.full(len(rows), 90, np.int32),
        categories=np.array(["cup", "cow", "car"]),
        **columns,
    )
    return path


def test_what_is_held_out_is_in_no_track(file, tmp_path):
    config = replace_fields(Config(), videos=f"eth80:{file}", seed=3)
    learn = training_photographs(config)
    tested = read_photographs(f"eth80:{file}", SIDE, config.evaluation, seed=3)
    held = set(tested.thing[tested.held_out])
    assert len(held) == 2 * CATEGORIES  # Two of six objects of each.
    assert not held & set(learn.thing)
    assert held | set(learn.thing) == set(read_eth80(file).thing)
    records = photograph_tracks(learn, 67.5, TrackingConfig(crop=32), tmp_path)
    assert len(records) == CATEGORIES * (OBJECTS - 2)


def test_a_view_that_is_missing_does_not_move_what_is_held_out(file, tmp_path):
    arrays = dict(np.load(file))
    # The first object of the first class is seen from elsewhere alone.
    arrays["elevation"][(arrays["label"] == 0) & (arrays["object"] == 0)] = 35
    path = tmp_path / "fewer.npz"
    np.savez(path, **arrays)
    for seed in range(4):
        config = replace_fields(Config(), videos=f"eth80:{path}", seed=seed)
        learn = training_photographs(config)
        tested = read_photographs(f"eth80:{path}", SIDE, config.evaluation, seed=seed)
        assert not set(tested.thing[tested.held_out]) & set(learn.thing)


def test_an_object_alone_of_its_class_is_refused(file):
    config = EvaluationConfig(held_out=0.1)
    with pytest.raises(InputError, match="of cup one alone is: set --held-out to more"):
        read_photographs(f"eth80:{file}", SIDE, config, seed=0)


def test_views_from_no_side_are_refused(file, tmp_path):
    arrays = dict(np.load(file))
    arrays["elevation"][:] = 0
    np.savez(tmp_path / "above.npz", **arrays)
    what = f"eth80:{tmp_path / 'above.npz'}"
    with pytest.raises(InputError, match="are seen from elevation 90; .* has none"):
        read_photographs(what, SIDE, EvaluationConfig(), seed=0)


def test_a_damaged_array_is_refused(file, tmp_path):
    np.savez_compressed(tmp_path / "whole.npz", **dict(np.load(file)))
    data = bytearray((tmp_path / "whole.npz").read_bytes())
    data[200:260] = bytes(60)
    (tmp_path / "bad.npz").write_bytes(data)
    with pytest.raises(InputError, match="no archive of arrays"):
        read_eth80(tmp_path / "bad.npz")


def test_objects_to_choose_by_are_split_off_from_the_others():
    label, thing = np.repeat([0, 1], 10), np.tile(np.arange(10), 2)
    final = EvaluationConfig(held_out=0.3)
    learn, test = split_things(label, thing, final, seed=1)
    tuning = EvaluationConfig(held_out=0.3, tuning=True)
    fewer, chosen = split_things(label, thing, tuning, seed=1)
    assert not (chosen & test).any()
    assert not (fewer & test).any()
    np.testing.assert_array_equal(fewer | chosen, learn)
    assert (test.sum(), chosen.sum()) == (6, 4)


def test_a_track_shows_the_same_object_three_views_on(file, tmp_path):
    config = replace_fields(Config(), videos=f"eth80:{file}")
    learn = training_photographs(config)
    photograph_tracks(learn, 67.5, TrackingConfig(crop=32), tmp_path)
    crops = Crops(tmp_path)
    assert len(crops) == 2 * len(learn.label)
    labels = find_labels({"track": tmp_path}, np.asarray(crops.index["video"]))
    assert labels is not None
    for track in (0, 5, 40):
        row = crops.index[2 * track]
        seed, end = int(row["frame"]), int(crops.index[2 * track + 1]["frame"])
        assert learn.thing[seed] == learn.thing[end] == labels.identity[2 * track]
        assert learn.label[seed] == labels.category[2 * track]
        assert (learn.azimuth[end] - learn.azimuth[seed]) % 360 in (67, 68)
        difference = crops[2 * track][0].astype(int) - learn.images[seed]
        assert np.abs(difference).mean() < 4


def test_no_photograph_is_a_negative_of_its_own_pair(file, tmp_path):
    learn = training_photographs(replace_fields(Config(), videos=f"eth80:{file}"))
    photograph_tracks(learn, 67.5, TrackingConfig(crop=32), tmp_path)
    seeds = np.asarray(Crops(tmp_path).index[::2])
    random = np.random.default_rng(0)
    clusters = ClusterConfig(neighbours=10, clique=2, least_members=2)
    write_graph(
        tmp_path,
        random.normal(size=(len(seeds), 8)).astype(np.float16),
        random.integers(0, 4, len(seeds)),
        group=np.asarray(seeds["video"]),
        config=clusters,
    )
    data = pair_data(tmp_path, tmp_path)
    config = TripletConfig(global_batch=100, init="random")
    batch = Sampler.create(data, config).batch(0, 0)
    crops = Crops(tmp_path)
    place = np.array(
        [
            2 * n if n < len(seeds) else 2 * (n - len(seeds)) + 1
            for n in batch["node"].ravel()
        ]
    )
    shown = np.stack([crops[int(k)][0] for k in place])
    equal = (shown[:, None] == shown).all(axis=(2, 3, 4))
    equal = equal.reshape(50, 2, 50, 2).any(axis=(1, 3))
    parent = jnp.asarray(batch["parent"])
    legal = legal_negatives(parent, jnp.asarray(batch["place"]))
    assert not (legal & equal).any()
    # They are in other parents, whose images are negatives else.
    assert (legal_negatives(parent) & equal).any()
    assert legal.mean() > 0.5


def test_a_turn_that_there_is_not_is_refused(file, tmp_path):
    learn = training_photographs(replace_fields(Config(), videos=f"eth80:{file}"))
    with pytest.raises(InputError, match="30 degrees on"):
        photograph_tracks(learn, 30, TrackingConfig(crop=32), tmp_path)


def test_folders_of_classes_are_photographs_without_angles(tmp_path):
    for name, colour in (("red", (200, 0, 0)), ("blue", (0, 0, 200))):
        place = tmp_path / "train" / name
        place.mkdir(parents=True)
        for k in range(5):
            Image.new("RGB", (20 + k, 30), colour).save(place / f"{k}.png")
    config = EvaluationConfig(held_out=0.4)
    found = read_photographs(f"folder:{tmp_path}", 16, config, seed=0)
    assert found.images.shape == (10, 16, 16, 3)
    assert found.azimuth is None
    assert found.held_out.sum() == 4

    def colours(images):
        return images.mean(axis=(1, 2)).astype(np.float32)

    assert probe(colours, found, 3) == {"nearest": 1.0, "linear": 1.0, "tested": 4}


def test_views_are_held_against_other_objects_from_far_sides():
    # Class, object and side of each; the last two are to learn from.
    label = np.array([0, 0, 0, 1, 1, 0, 1])
    thing = np.array([0, 0, 1, 2, 3, 8, 9])
    azimuth = np.array([0, 180, 180, 0, 180, 0, 0])
    rows = np.eye(7)
    rows[0] = [0.0, 3.0, 1.0, 2.0, 0.5, 0.0, 0.0]
    photographs = Photographs(
        np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1).repeat(3, 3),
        label,
        thing,
        azimuth,
        np.arange(7) < 5,
        ("a", "b"),
    )

    def features(images):
        return rows[images[:, 0, 0, 0]]

    # The first is nearest to its own other side, then to another class from its own
    # side: neither may vote, so that its class, from far away, does. The others are
    # like nothing but the first, which only 2 and 4 may see from where they are: it is
    # right for 2 alone. What 1 and 3 may see are all alike: the first of them, 3 and 1.
    learnt = linear_accuracy(rows[5:], label[5:], rows[:5], label[:5])
    assert probe(features, photographs, 1) == {
        "nearest": 2 / 5,
        "linear": learnt,
        "tested": 5,
    }


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--videos", "eth80:nowhere.npz"], "could not be read"),
        (["--videos", "eth80:"], "a path must be"),
        (["--videos", "eth80:FILE", "--turn", "30"], "set --turn to a multiple"),
        (["--videos", "eth80:FILE", "--held-out", "0"], "held_out must be"),
        (["--videos", "eth80:FILE", "--photographs", "x"], "photographs must be none"),
        (["--videos", "eth80:FILE", "--parents", "5000"], "set --parents lower"),
        (["--videos", "eth80:FILE", "--least-members", "999"], "must have 999 members"),
        (["--videos", "eth80:FILE", "--least-part", "0"], "least_part must be"),
        (["--videos", "eth80:FILE", "--colour-jitter", "nan"], "colour_jitter must"),
        (["--videos", "eth80:FILE", "--components", "9999"], "set --components to"),
    ],
)
def test_bad_input_of_photographs_is_a_line(flags, says, file, tmp_path, capsys):
    words = [one.replace("FILE", str(file)) for one in flags]
    run = ["run", "eth80", "--run-dir", str(tmp_path / "run")]
    assert main([*run, *words]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("error: ")
    assert says in said[-1]


TINY = {
    "width": 0.125,
    "hidden": 64,
    "embedding": 64,
    "steps": 2,
    "global_batch": 8,
    "parents": 2,
    "least_members": 4,
    "crop": 32,
    "patch": 32,
    "gap": 4,
    "jitter": 1,
    "least_pixels": 120**2,
    "most_pixels": 130**2,
    "neighbours": 6,
    "clique": 3,
    "devices": 1,
}


@pytest.mark.slow
def test_cells_run_once_and_share_what_they_do_not_change(file, tmp_path):
    config = replace_fields(PRESETS["eth80"].config, videos=f"eth80:{file}", **TINY)
    cells = {"intra": {"transitive_share": 0.0}, "both": {"context_weight": 0.5}}
    ran = []
    arguments = (config, cells, (0, 1), tmp_path / "cells")
    with Interrupt() as interrupt:
        rows = run_cells(*arguments, interrupt=interrupt, say=ran.append)
        again = run_cells(*arguments, interrupt=interrupt, say=ran.append)
    assert rows == again
    assert [(row["cell"], row["seed"]) for row in rows] == [
        ("intra", 0),
        ("both", 0),
        ("intra", 1),
        ("both", 1),
    ]
    assert ran.count("graph: running") == 2  # One for each seed.
    assert ran.count("triplet: running") == 4
    found = summarise(rows)
    assert set(found) >= {"intra", "both", "untrained", "HOG", "HOG, mirrored"}
    assert len(found["HOG"]["nearest"]) == 2
    assert "| both | 2 |" in markdown(rows)
    assert json.loads(json.dumps(rows)) == rows
    other = replace_fields(config, steps=3)
    with (
        Interrupt() as interrupt,
        pytest.raises(InputError, match="a directory of its own"),
    ):
        run_cells(other, cells, (0,), tmp_path / "cells", interrupt=interrupt)
