"""A comparison reports what the rows of its runs say, and trains nothing twice."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments.mgan import experiment
from experiments.mgan.compare import COLUMNS, compare
from experiments.mgan.config import Config
from experiments.mgan.presets import Preset
from lars_jax.train.ahead import AheadOfTime
from lars_jax.train.config import replace_fields
from lars_jax.train.record import read_json
from tests.experiments.mgan.support import contents, in_call, last_state, rows

TINY = replace_fields(
    Config(),
    **{"devices": 1, "width": 8, "noise_size": 4, "batch": 64, "init_deviation": 0.3},
    **{"steps": 20, "steps_per_call": 10, "eval_every": 10, "eval_samples": 300},
    **{"checkpoint_every": 10, "generator_rate": 0.01, "fakes": 8, "generators": 4},
)
PRESETS = {"many": TINY, "one": replace_fields(TINY, generators=1, fakes=32)}
RUNS = [f"{name}/{seed}" for name in PRESETS for seed in (0, 1)]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Return the directory and the outcome of a finished comparison."""
    directory = tmp_path_factory.mktemp("compare") / "run"
    return directory, compare(experiment.MGAN, PRESETS, 2, directory)


@pytest.fixture
def copy(compared, tmp_path):
    """Return a copy of it that a test may break."""
    return Path(shutil.copytree(compared[0], tmp_path / "run"))


def evaluations(place):
    return [row for row in rows(place) if "eval/count" in row]


def test_every_preset_is_played_with_every_seed(compared):
    directory, outcome = compared
    assert outcome.status == 0
    found = {
        str(path.parent.relative_to(directory))
        for path in directory.rglob("config.json")
    }
    assert found == set(RUNS)
    for run in RUNS:
        config = read_json(directory / run / "config.json")["config"]
        assert config["seed"] == int(run[-1])
    endings = [evaluations(directory / run)[-1]["eval/wasserstein"] for run in RUNS]
    assert len(set(endings)) == 4


def test_table_holds_mean_and_sd_of_the_seeds(compared):
    directory, outcome = compared
    lines = outcome.table.splitlines()
    assert (directory / "table.md").read_text() == outcome.table
    assert len(lines) == 2 + len(PRESETS) + 1
    for name, line in zip(PRESETS, lines[2:], strict=False):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[:2] == [f"`{name}`", "2"]
        last = [evaluations(directory / name / str(seed))[-1] for seed in (0, 1)]
        for key, cell in zip(COLUMNS, cells[2:-1], strict=True):
            values = [row[f"eval/{key}"] for row in last]
            mean, sd = np.mean(values), np.std(values, ddof=1)
            assert cell == f"{mean:.3f} ± {sd:.3f}"


def test_last_line_of_the_table_is_the_floor(compared):
    directory, outcome = compared
    floors = [rows(directory / run)[0] for run in RUNS]
    cells = outcome.table.splitlines()[-1].strip("|").split("|")
    assert [cell.strip() for cell in cells[:6]] == ["true samples", "", "", "", "", ""]
    for cell, name in zip(cells[6:8], ("symmetric_kl", "wasserstein"), strict=True):
        assert float(cell) == pytest.approx(
            np.mean([row[f"floor/{name}"] for row in floors]), abs=5e-4
        )


def test_record_holds_the_distances_on_the_way(compared):
    runs = read_json(compared[0] / "compare.json")["runs"]
    assert {f"{run['preset']}/{run['seed']}" for run in runs} == set(RUNS)
    for run in runs:
        place = compared[0] / run["preset"] / str(run["seed"])
        expected = [
            [row["step"], row["eval/wasserstein"]] for row in evaluations(place)
        ]
        assert run["curves"]["wasserstein"] == expected
        assert run["steps"] == 20
        assert run["digest"] == read_json(place / "config.json")["digest"]
        assert run["seconds"] > 0


@pytest.mark.parametrize("name", ["symmetric_kl", "wasserstein", "evolution"])
def test_figures_are_written(compared, name):
    assert (compared[0] / f"{name}.svg").read_text().count("<svg") == 1


def test_second_call_trains_nothing_and_says_the_same(compared, copy, monkeypatch):
    def refuse(self, *arguments):
        raise AssertionError("nothing is to be computed")

    monkeypatch.setattr(AheadOfTime, "__call__", refuse)
    before = contents(copy)
    assert compare(experiment.MGAN, PRESETS, 2, copy) == compared[1]
    assert contents(copy) == before
    for run in RUNS:
        assert len(rows(copy / run, "attempts.jsonl")) == 1


@pytest.mark.slow
def test_comparison_that_was_stopped_goes_on(compared, copy, monkeypatch):
    for name in ("table.md", "compare.json"):
        (copy / name).unlink()
    for run in ("many/1", "one/1"):
        shutil.rmtree(copy / run)
    with monkeypatch.context() as patched:
        in_call(patched.setattr, 1)
        stopped = compare(experiment.MGAN, PRESETS, 2, copy)
    assert (stopped.status, stopped.table) == (143, "")
    assert not (copy / "table.md").exists()
    assert not (copy / "one" / "1").exists()
    outcome = compare(experiment.MGAN, PRESETS, 2, copy)
    assert outcome.status == 0
    for run in RUNS:
        assert rows(copy / run) == rows(compared[0] / run)
        assert last_state(copy / run) == last_state(compared[0] / run)
    attempts = rows(copy / "many" / "1", "attempts.jsonl")
    assert [row["step"] for row in attempts] == [0, 10]
    # All but the seconds, which are those of other runs.
    ours, theirs = (
        [line.rsplit("|", 2)[0] for line in table.splitlines()]
        for table in (outcome.table, compared[1].table)
    )
    assert ours == theirs


@pytest.fixture
def tiny_presets(monkeypatch):
    def find(name):
        return Preset(name, PRESETS[name], "a test", "nothing", "here")

    monkeypatch.setattr(experiment, "get_preset", find)


def test_command_prints_the_table(compared, copy, tiny_presets, capsys):
    words = ["compare", "many", "one", "--seeds", "2", "--run-dir", str(copy)]
    assert experiment.main(words) == 0
    assert capsys.readouterr().out == compared[1].table


def test_command_refuses_runs_of_another_length(copy, tiny_presets, capsys):
    words = ["compare", "many", "--seeds", "1", "--steps", "40", "--run-dir", str(copy)]
    assert experiment.main(words) == 2
    said = capsys.readouterr().err
    assert "steps: 20 -> 40" in said
    assert said.count("\n") == 1
