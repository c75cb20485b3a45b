"""A comparison tunes every cell alike and reports what its rows say."""

import json

import numpy as np
import pytest

from experiments.lars.cli import main
from experiments.lars.compare import Grid, learning_rates
from lars_jax.train.record import read_lines


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    directory = tmp_path_factory.mktemp("compare") / "run"
    words = [
        *("compare", "smoke", "--devices", "1", "--steps", "6"),
        *("--optimizers", "lars", "sgd", "--batches", "64", "--seeds", "2"),
        *("--trials", "2", "--tuning-holdout", "100", "--run-dir", str(directory)),
    ]
    assert main(words) == 0
    return directory


def test_every_cell_has_the_same_budget(compared):
    rows = list(read_lines(compared / "results.jsonl"))
    for name in ("lars", "sgd"):
        phases = [row["phase"] for row in rows if row["optimizer"] == name]
        assert phases == ["tune", "tune", "test", "test"]


def test_the_rate_that_tuned_best_is_the_one_tested(compared):
    rows = list(read_lines(compared / "results.jsonl"))
    for name in ("lars", "sgd"):
        own = [row for row in rows if row["optimizer"] == name]
        best = max(own[:2], key=lambda row: row["accuracy"])
        assert {row["rate"] for row in own[2:]} == {best["rate"]}
        assert [row["seed"] for row in own[2:]] == [0, 1]


def test_table_holds_mean_and_sd_of_the_seeds(compared):
    rows = [r for r in read_lines(compared / "results.jsonl") if r["phase"] == "test"]
    lines = (compared / "table.md").read_text().splitlines()
    assert len(lines) == 4
    for name, line in zip(("lars", "sgd"), lines[2:], strict=True):
        values = [row["accuracy"] for row in rows if row["optimizer"] == name]
        mean, sd = 100 * np.mean(values), 100 * np.std(values, ddof=1)
        assert line.startswith(f"| {name} | 64 |")
        assert line.endswith(f"| {mean:.2f} | {sd:.2f} | 2 |")


def test_plot_and_settings_are_kept(compared):
    assert (compared / "accuracy.svg").read_text().count("<svg") == 1
    assert json.loads((compared / "config.json").read_text())["grid"]["trials"] == 2


def test_same_directory_is_not_used_twice(compared, capsys):
    assert main(["compare", "smoke", "--run-dir", str(compared)]) == 2
    assert "directory of its own" in capsys.readouterr().err


def test_rates_of_a_cell_are_spaced_evenly_around_its_centre():
    grid = Grid(("sgd",), (256,), 1, 5, 100, 16.0)
    rates = learning_rates(grid, "sgd", 256)
    np.testing.assert_allclose(rates, [0.025, 0.05, 0.1, 0.2, 0.4])
    np.testing.assert_allclose(learning_rates(grid, "sgd", 1024), np.multiply(rates, 2))
