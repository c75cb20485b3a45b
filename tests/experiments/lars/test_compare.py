"""A comparison tunes every cell alike and reports what its rows say."""

import itertools
import json
import math
import time
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest

from experiments.lars import compare
from experiments.lars.cells import cell_config, learning_rates, middle_rate
from experiments.lars.config import Config, Grid
from experiments.lars.experiment import main
from lars_jax.errors import InputError
from lars_jax.train import NonFiniteError
from lars_jax.train.config import replace_fields
from lars_jax.train.record import append_row, lock, read_lines
from tests.data.support import encoded

NAMES = ("lamb", "simclr_popular")


@pytest.fixture(scope="module")
def compared(tiny_network, tmp_path_factory):
    directory = tmp_path_factory.mktemp("compare") / "run"
    words = [
        *("compare", "smoke", "--devices", "1", "--steps", "6"),
        *("--optimizers", *NAMES, "--batches", "64", "--seeds", "2"),
        *("--trials", "2", "--tuning-holdout", "100", "--run-dir", str(directory)),
    ]
    assert main(words) == 0
    return directory


@pytest.mark.slow
def test_every_cell_has_the_same_budget(compared):
    rows = list(read_lines(compared / "results.jsonl"))
    for name in NAMES:
        own = [row for row in rows if row["optimizer"] == name]
        assert [row["phase"] for row in own] == ["tune", "tune", "test", "test"]
    middle = {"lamb": 0.03 / 2, "simclr_popular": 16.0 / 2}
    for name, rate in middle.items():
        tried = [row["rate"] for row in rows if row["optimizer"] == name][:2]
        assert np.sqrt(np.prod(tried)) == pytest.approx(rate)


@pytest.mark.slow
def test_the_rate_that_tuned_best_is_the_one_tested(compared):
    rows = list(read_lines(compared / "results.jsonl"))
    for name in NAMES:
        own = [row for row in rows if row["optimizer"] == name]
        best = max(row["accuracy"] for row in own[:2])
        (rate,) = {row["rate"] for row in own[2:]}
        assert rate in [row["rate"] for row in own[:2] if row["accuracy"] == best]
        assert [row["seed"] for row in own[2:]] == [0, 1]


CELL = Config(), "lars", 256


class Trained:
    """Stands in for a trainer: what a run gives depends on its rate alone."""

    results = {1.0: (0.9, 0.4), 2.0: (0.9, 0.3), 4.0: (0.9, 0.5), 8.0: (0.8, 0.1)}

    def __init__(self, config):
        self.config = config

    def init(self, config=None):
        config = config or self.config
        return config.optimizer.learning_rate

    def fit(self, state, seed):
        if state == 16.0:
            raise NonFiniteError("diverged")
        return state, 1

    def evaluate(self, state, seed):
        return dict(zip(("accuracy", "loss"), self.results[state], strict=True))


def tried(monkeypatch, directory, grid):
    """Return runs of a stand-in that a comparison is about to make."""
    monkeypatch.setattr(compare.Trainer, "create", Trained)
    return compare.Runs(grid, directory, [], None, mock.Mock())


def test_of_equal_accuracies_the_lower_loss_wins_and_divergence_loses(
    monkeypatch, tmp_path
):
    runs = tried(monkeypatch, tmp_path, Grid(trials=5, rate_span=16.0))
    assert runs.tuned("lars", Config()) == 2.0
    found = [run["accuracy"] for run in runs.of("tune", "lars", 256)]
    assert found == [0.9, 0.9, 0.9, 0.8, 0.0]


@pytest.mark.parametrize(
    ("widen", "rates"),
    [(0, [4.0, 8.0]), (1, [4.0, 8.0, 2.0]), (5, [4.0, 8.0, 2.0, 1.0])],
)
def test_rates_beyond_an_edge_are_tried_as_far_as_allowed(
    monkeypatch, tmp_path, widen, rates
):
    config = replace_fields(Config(), global_batch=512)
    runs = tried(monkeypatch, tmp_path, Grid(trials=2, rate_span=2.0, widen=widen))
    best = runs.tuned("lars", config)
    assert [run["rate"] for run in runs.of("tune", "lars", 512)] == rates
    assert best == {0: 4.0, 1: 2.0, 5: 2.0}[widen]


def test_no_run_begins_when_the_hours_are_over(monkeypatch, tmp_path):
    runs = tried(monkeypatch, tmp_path, Grid(trials=3, hours=1.0))
    runs.run("tune", "lars", Config(), 1.0, 0)
    later = time.monotonic() + 3601
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert runs.run("tune", "lars", Config(), 1.0, 0)["accuracy"] == 0.9
    with pytest.raises(compare.OutOfTime):
        runs.run("tune", "lars", Config(), 2.0, 0)
    assert len(list(read_lines(tmp_path / "results.jsonl"))) == 1


@pytest.mark.slow
def test_table_holds_mean_and_sd_of_the_seeds(compared):
    rows = [r for r in read_lines(compared / "results.jsonl") if r["phase"] == "test"]
    lines = (compared / "table.md").read_text().splitlines()
    for name, line in zip(NAMES, lines[2:4], strict=True):
        values = [row["accuracy"] for row in rows if row["optimizer"] == name]
        mean, sd = 100 * np.mean(values), 100 * np.std(values, ddof=1)
        assert line.startswith(f"| {name} | 64 |")
        assert line.endswith(f"| {mean:.2f} | {sd:.2f} | 2 |")
    assert "points ahead of lamb" in lines[5]


@pytest.mark.slow
def test_plot_and_settings_are_kept(compared):
    for name in ("accuracy", "rates-64"):
        assert (compared / f"{name}.svg").read_text().count("<svg") == 1
    assert json.loads((compared / "config.json").read_text())["grid"]["trials"] == 2


@pytest.mark.slow
def test_another_comparison_has_a_directory_of_its_own(compared, capsys):
    assert main(["compare", "smoke", "--run-dir", str(compared)]) == 2
    assert "directory of its own" in capsys.readouterr().err


@pytest.fixture
def grid(monkeypatch):
    """Return a grid of one cell, whose runs are stood in for."""
    monkeypatch.setattr(compare.Trainer, "create", Trained)
    monkeypatch.setattr(compare.Trainer, "init", lambda self, config=None: None)
    rates = {rate: (0.9, rate) for rate in learning_rates(cell_config(*CELL), 3, 4.0)}
    monkeypatch.setattr(Trained, "results", rates)
    return Grid(("lars",), (256,), 2, 3, 100, 4.0)


@pytest.mark.parametrize("change", [{"phase": "tset"}, {"rate": "1"}, {"seed": None}])
def test_row_that_is_no_run_is_named(tmp_path, grid, change):
    compare.compare(Config(), grid, tmp_path)
    first = next(read_lines(tmp_path / "results.jsonl"))
    append_row(tmp_path / "results.jsonl", first | change)
    with pytest.raises(InputError, match=r"results.jsonl must hold runs.*remove that"):
        compare.compare(Config(), grid, tmp_path)


def test_rows_of_before_are_read_and_those_that_follow_are_json(
    tmp_path, monkeypatch, grid, capsys
):
    monkeypatch.setattr(Trained, "results", {})
    monkeypatch.setattr(Trained, "fit", mock.Mock(side_effect=NonFiniteError("NaN")))
    [rate, *_] = learning_rates(cell_config(*CELL), 3, 4.0)
    run = {"phase": "tune", "optimizer": "lars", "global_batch": 256, "rate": rate}
    old = run | {"seed": 0, "accuracy": 0.0, "loss": math.inf}
    table = compare.compare(Config(), grid, tmp_path, known=[old])
    assert "| lars | 256 | 2 |  |  | 0, 2 of 2 diverged |" in table
    said = capsys.readouterr().err
    assert "1 of 1 known runs are of another environment (nobody wrote it down)" in said
    text = (tmp_path / "results.jsonl").read_text()
    assert "Infinity" not in text
    rows = [json.loads(line) for line in text.splitlines()]
    assert {(row["loss"], row["diverged"]) for row in rows} == {(None, True)}
    assert len(rows) == 5
    assert all("git_revision" in row["environment"] for row in rows[1:])


def test_grid_that_ran_out_of_time_says_how_far_it_came_and_how_to_go_on(
    tmp_path, monkeypatch, grid, capsys
):
    run = compare.Runs.run

    def once(self, phase, *arguments):
        if phase == "test" and self.of("test", "lars", 256):
            raise compare.OutOfTime
        return run(self, phase, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(compare.Runs, "run", once)
        table = compare.compare(Config(), grid, tmp_path)
    goes_on = f"The same command goes on with --run-dir {tmp_path}\n"
    assert table.endswith(f"0 of 1 cells tested by all 2 seeds.\n\n{goes_on}")
    assert "0 of 1 cells" in (tmp_path / "table.md").read_text()
    assert f"run directory: {tmp_path}\n" in capsys.readouterr().err
    assert "cells tested" not in compare.compare(Config(), grid, tmp_path)


def test_tables_call_lars_by_its_variant(tmp_path, grid):
    config = replace_fields(Config(), variant="byol")
    table = compare.compare(config, grid, tmp_path)
    assert "| byol | 256 |" in table
    assert "lars" not in table
    rows = read_lines(tmp_path / "results.jsonl")
    assert {row["optimizer"] for row in rows} == {"byol"}
    both = replace(grid, optimizers=("lars", "byol"))
    with pytest.raises(InputError, match="lars and byol are the same here"):
        compare.compare(config, both, tmp_path / "both")


def test_more_seeds_of_a_cell_have_the_rate_of_the_first(tmp_path, monkeypatch, grid):
    rates = learning_rates(cell_config(*CELL), 3, 4.0)
    run = {"optimizer": "lars", "global_batch": 256, "seed": 0, "accuracy": 0.9}
    # Older than the loss by which the highest of equal ones was chosen.
    known = [run | {"phase": "tune", "rate": rate} for rate in rates]
    known.append(run | {"phase": "test", "rate": rates[-1]})
    table = compare.compare(Config(), grid, tmp_path, known)
    assert f"| lars | 256 | {rates[-1]:g} | 90.00 | 0.00 | 2 |" in table


def test_known_runs_of_other_code_are_told(tmp_path, monkeypatch, grid, capsys):
    compare.compare(Config(), grid, tmp_path)
    assert "environment" not in capsys.readouterr().err
    there = compare.environment()
    monkeypatch.setattr(compare, "environment", lambda: there | {"jax": "0.0.1"})
    compare.compare(Config(), replace(grid, seeds=3), tmp_path)
    change = f"jax: {there['jax']} -> 0.0.1"
    line = f"5 of 5 known runs are of another environment ({change}): the tables hold"
    assert line in capsys.readouterr().err
    rows = [row["environment"]["jax"] for row in read_lines(tmp_path / "results.jsonl")]
    assert rows == [there["jax"]] * 5 + ["0.0.1"]


def test_comparison_that_was_stopped_goes_on(tmp_path, monkeypatch, grid):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    table = compare.compare(Config(), grid, whole)
    # Another limit on the time of a start is no other comparison.
    assert compare.compare(Config(), replace(grid, hours=1.0), whole) == table
    # More seeds are more runs of the same one.
    more = tmp_path / "more"
    compare.compare(Config(), replace(grid, seeds=1), more)
    assert compare.compare(Config(), grid, more) == table
    assert json.loads((more / "config.json").read_text())["grid"]["seeds"] == 2
    append = compare.append_row

    def append_twice(path, row):
        append(path, row)
        if row["rate"] == 4.0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(compare, "append_row", append_twice)
        with pytest.raises(KeyboardInterrupt):
            compare.compare(Config(), grid, stopped)
    kept = (stopped / "results.jsonl").read_text()
    # As a crash would cut the next one short.
    (stopped / "results.jsonl").write_text(kept + '{"phase": "te')
    assert compare.compare(Config(), grid, stopped) == table
    assert (stopped / "results.jsonl").read_text().startswith(kept)
    found, expected = (
        # How long a run took is its own.
        [row | {"wall_seconds": 0.0} for row in read_lines(place / "results.jsonl")]
        for place in (stopped, whole)
    )
    assert found == expected


def test_comparison_that_is_stopped_says_how_it_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compare, "compare", mock.Mock(side_effect=KeyboardInterrupt))
    assert main(["compare", "smoke", "--run-dir", str(tmp_path / "some")]) == 130
    line = f"stopped; the same command with --run-dir {tmp_path / 'some'} goes on"
    assert line in capsys.readouterr().err


@pytest.fixture
def pictures(tmp_path):
    """Return a folder of pictures."""
    random = np.random.default_rng(0)
    for split, name, k in itertools.product(("train", "test"), "ab", range(10)):
        place = tmp_path / "pictures" / split / name
        place.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 255, (8, 8, 3)).astype(np.uint8)
        (place / f"{k}.png").write_bytes(encoded(pixels))
    return tmp_path / "pictures"


def of(pictures):
    """Return what a comparison on pictures is given."""
    config = replace_fields(Config(), dataset=f"folder:{pictures}", devices=1)
    return config, Grid(("lars",), (16,), 1, 1, 4)


@pytest.mark.usefixtures("grid")
def test_data_may_move_and_not_change(tmp_path, monkeypatch, pictures):
    monkeypatch.setattr(Trained, "results", {1.0: (0.9, 0.4)})
    table = compare.compare(*of(pictures), tmp_path / "run")
    moved = pictures.rename(tmp_path / "moved")
    with monkeypatch.context() as patch:
        patch.setattr(compare, "_train", None)
        assert compare.compare(*of(moved), tmp_path / "run") == table
    (moved / "train" / "a" / "0.png").write_bytes(encoded(np.zeros((8, 8, 3), "u1")))
    with pytest.raises(InputError, match="must keep the data.*a/0.png has another"):
        compare.compare(*of(moved), tmp_path / "run")


def test_initial_weights_may_not_change(tmp_path, monkeypatch, grid):
    path = tmp_path / "weights.npz"
    path.write_bytes(b"some")
    config = replace_fields(Config(), init_from=str(path))
    compare.compare(config, grid, tmp_path / "run")
    path.write_bytes(b"others")
    with pytest.raises(InputError, match="of .* init_from: weights.npz has another"):
        compare.compare(config, grid, tmp_path / "run")


def test_what_another_is_writing_stays_as_it_is(tmp_path, grid):
    compare.compare(Config(), grid, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with lock(tmp_path), pytest.raises(InputError, match="another is at work"):
        compare.compare(Config(), replace(grid, seeds=5), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_directory_older_than_a_field_and_than_memory_of_data_goes_on(
    tmp_path, grid, capsys
):
    table = compare.compare(Config(), grid, tmp_path)
    path = tmp_path / "config.json"
    found = json.loads(path.read_text())
    remembered = found.pop("data")
    del found["config"]["steps_per_call"], found["grid"]["widen"]
    path.write_text(json.dumps(found))
    assert compare.compare(Config(), grid, tmp_path) == table
    assert "begun before comparisons remembered their data" in capsys.readouterr().err
    assert json.loads(path.read_text())["data"] == remembered
    path.write_text("[]")
    with pytest.raises(InputError, match="must hold a configuration and a grid"):
        compare.compare(Config(), grid, tmp_path)


def test_rates_of_a_cell_are_spaced_evenly_around_its_centre():
    config = cell_config(Config(), "sgd", 256)
    rates = learning_rates(config, 5, 16.0)
    np.testing.assert_allclose(rates, [0.025, 0.05, 0.1, 0.2, 0.4])
    larger = learning_rates(cell_config(Config(), "sgd", 1024), 5, 16.0)
    np.testing.assert_allclose(larger, np.multiply(rates, 2))


@pytest.mark.parametrize(
    ("name", "centre", "with_larger_coefficient"),
    [
        ("lars", 4.0, 0.2),
        ("paper", 4.0, 0.2),
        ("byol", 4.0, 0.2),
        ("simclr_popular", 16.0, 0.8),
        ("larc_clip", 0.1, 0.1),
        ("larc_apex_clip", 0.1, 0.1),
        ("sgd", 0.1, 0.1),
        ("nesterov", 0.2, 0.2),
        ("lamb", 0.03, 0.03),
    ],
)
def test_centre_follows_what_the_rate_of_an_optimizer_means(
    name, centre, with_larger_coefficient
):
    config = cell_config(Config(), name, 256)
    assert middle_rate(config) == pytest.approx(centre)
    larger = replace_fields(config, trust_coefficient=0.02)
    assert middle_rate(larger) == pytest.approx(with_larger_coefficient)


@pytest.mark.parametrize(
    ("name", "optimizer", "variant"),
    [
        ("lars", "lars", "byol"),
        ("paper", "lars", "paper"),
        ("tf_contrib", "lars", "tf_contrib"),
        ("lamb", "lamb", "paper"),
    ],
)
def test_cell_is_an_optimizer_or_a_variant(name, optimizer, variant):
    cell = cell_config(replace_fields(Config(), variant="byol"), name, 64).optimizer
    assert (cell.optimizer, cell.variant) == (optimizer, variant)
