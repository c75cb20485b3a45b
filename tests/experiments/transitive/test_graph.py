"""The files of the graph: by parent, in blocks, with counts and errors."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.transitive.cliques import find_cliques
from experiments.transitive.config import ClusterConfig
from experiments.transitive.graph import appending, write_graph
from experiments.transitive.neighbours import find_neighbours
from experiments.transitive.pairs import make_pairs
from experiments.transitive.parents import (
    assign_parents,
    drop_small,
    fit_centroids,
    members,
)
from lars_jax.errors import FileError, InputError

CONFIG = ClusterConfig(parents=6, least_members=20)


@pytest.fixture(scope="module")
def sample():
    """Return features of 400 seeds, their parents, and videos."""
    random = np.random.default_rng(0)
    features = random.normal(size=(10, 6))[random.integers(0, 10, 400)]
    features = (features + 0.3 * random.normal(size=features.shape)).astype(np.float16)
    centroids = fit_centroids(features, CONFIG.parents, seed=0)
    parent = drop_small(assign_parents(features, centroids), CONFIG.least_members)
    return features, parent, random.integers(0, 30, 400)


def load(directory):
    names = ("cliques", "pairs", "kinds", "node_parents")
    return {name: np.load(directory / f"{name}.npy") for name in names}


def test_child_clusters_and_pairs_are_those_of_each_parent(sample, tmp_path):
    features, parent, group = sample
    counts = write_graph(tmp_path, features, parent, group=group, config=CONFIG)
    found = load(tmp_path)
    cliques, pairs = [], []
    for seeds in members(parent):
        neighbours = find_neighbours(features[seeds], 10, group[seeds])
        cliques.append(seeds[find_cliques(neighbours.index)])
        pairs.append(make_pairs(cliques[-1], seeds, 400))
    np.testing.assert_array_equal(found["cliques"], np.concatenate(cliques))
    np.testing.assert_array_equal(
        found["pairs"], np.concatenate([one.nodes for one in pairs])
    )
    assert {name: one.dtype.name for name, one in found.items()} == {
        "cliques": "int32",
        "pairs": "int64",
        "kinds": "uint8",
        "node_parents": "int32",
    }
    assert counts == {
        "parents": parent.max() + 1,
        "seeds": (parent >= 0).sum(),
        "cliques": len(found["cliques"]),
        "clustered": len(np.unique(found["cliques"])),
        "inter": (found["kinds"] == 0).sum(),
        "intra": (found["kinds"] == 1).sum(),
        "transitive": (found["kinds"] == 2).sum(),
    }


def test_clusters_never_straddle_parents_nor_repeat_a_video(sample, tmp_path):
    features, parent, group = sample
    write_graph(tmp_path, features, parent, group=group, config=CONFIG)
    found = load(tmp_path)
    assert (np.ptp(parent[found["cliques"]], axis=1) == 0).all()
    videos = np.sort(group[found["cliques"]], axis=1)
    assert (np.diff(videos, axis=1) > 0).all()
    parents = found["node_parents"][found["pairs"]]
    assert (parents[:, 0] == parents[:, 1]).all()
    assert parents.min() >= 0
    np.testing.assert_array_equal(found["node_parents"], np.concatenate([parent] * 2))


def test_the_same_input_gives_the_same_bytes(sample, tmp_path):
    features, parent, group = sample
    written = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / "features.npy", features)
        mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
        write_graph(
            *(tmp_path / name, mapped, parent),
            group=group,
            config=replace(CONFIG, overlap="greedy"),
        )
        files = sorted((tmp_path / name).iterdir())
        written.append([(file.name, file.read_bytes()) for file in files])
    assert written[0] == written[1]


def test_all_parents_pass_by_whoever_watches(sample, tmp_path):
    features, parent, group = sample
    seen = []

    def watch(parts):
        for part in parts:
            seen.append(len(part))
            yield part

    write_graph(tmp_path, features, parent, group=group, config=CONFIG, watch=watch)
    assert seen == [len(part) for part in members(parent)]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"parent": np.full(400, -1)}, "a parent must have 20 members; none of 6 has"),
        ({"group": np.zeros(400, int)}, "none of the same video; got none among"),
        ({"parent": np.zeros(3, int)}, "must be those of all 400 seeds; got 3"),
    ],
)
def test_none_of_a_kind_says_which_rule_took_them(sample, tmp_path, change, rule):
    features, parent, group = sample
    given = {"parent": parent, "group": group} | change
    with pytest.raises(InputError, match=rule) as caught:
        write_graph(tmp_path, features, config=CONFIG, **given)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_what_is_appended_is_an_array_of_numpy_even_if_empty(tmp_path):
    path = tmp_path / "rows.npy"
    with appending(path, np.int64, 3):
        pass
    assert np.load(path, mmap_mode="r").shape == (0, 3)
    with appending(path, np.uint8) as append:
        for _ in range(1000):
            append(np.zeros(7))
    assert np.load(path).shape == (7000,)


def test_a_file_that_fails_is_not_there(tmp_path):
    with (
        pytest.raises(ZeroDivisionError),
        appending(tmp_path / "a.npy", np.uint8) as append,
    ):
        append(np.zeros(1 // 0))
    assert not list(tmp_path.iterdir())
    with (
        pytest.raises(FileError, match="could not be written"),
        appending(tmp_path / "no" / "a.npy", np.uint8),
    ):
        pass
