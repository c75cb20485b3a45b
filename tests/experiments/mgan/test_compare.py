"""A comparison reports what the rows of its runs say, and trains nothing twice."""

import shutil
import signal
from pathlib import Path

import pytest

from experiments.mgan import experiment
from experiments.mgan.compare import COLUMNS, compare, make_table, read_result
from experiments.mgan.config import Config
from lars_jax.runs import Preset
from lars_jax.train.ahead import AheadOfTime
from lars_jax.train.config import replace_fields
from lars_jax.train.record import read_json
from tests.experiments.mgan.support import contents, evaluations, rows

pytestmark = pytest.mark.slow

TINY = replace_fields(
    Config(),
    **{"devices": 1, "width": 8, "noise_size": 4, "batch": 32, "init_deviation": 0.3},
    **{"steps": 10, "steps_per_call": 5, "eval_every": 5, "eval_samples": 60},
    **{"checkpoint_every": 10, "generator_rate": 0.01, "fakes": 8, "generators": 2},
)
PRESETS = {"slow": TINY, "fast": replace_fields(TINY, generator_rate=0.02)}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Return the directory of a finished comparison, and its table."""
    directory = tmp_path_factory.mktemp("compare") / "run"
    status, table = compare(experiment.MGAN, PRESETS, 1, directory)
    assert status == 0
    return directory, table


@pytest.fixture
def copy(compared, tmp_path):
    """Return a copy of it that a test may break."""
    return Path(shutil.copytree(compared[0], tmp_path / "run"))


def test_comparison_holds_what_the_rows_of_its_runs_say(compared):
    directory, table = compared
    assert (directory / "table.md").read_text() == table
    assert table == make_table(
        [read_result(directory / n / "0", n, 0) for n in PRESETS]
    )
    for figure in ("symmetric_kl", "wasserstein", "evolution"):
        assert (directory / f"{figure}.svg").read_text().count("<svg") == 1
    runs = read_json(directory / "compare.json")["runs"]
    assert [(run["preset"], run["seed"], run["steps"]) for run in runs] == [
        *(("slow", 0, 10), ("fast", 0, 10))
    ]
    for run in runs:
        place = directory / run["preset"] / "0"
        floor, ending = rows(place)[0], evaluations(place)[-1]
        assert run["final"] == {name: ending[f"eval/{name}"] for name in COLUMNS}
        assert run["floor"]["wasserstein"] == floor["floor/wasserstein"]
        way = [[row["step"], row["eval/wasserstein"]] for row in evaluations(place)]
        assert run["curves"]["wasserstein"] == way
        assert run["digest"] == read_json(place / "config.json")["digest"]
        assert run["seconds"] > 0


def test_table_holds_mean_and_sd_of_the_seeds_and_then_the_floor():
    floor = {"symmetric_kl": 0.25, "wasserstein": 0.5}
    seeds = [
        {"final": dict.fromkeys(COLUMNS, x), "floor": floor, "seconds": 60 * x}
        for x in (1.0, 3.0)
    ]
    table = make_table([{"preset": "ring", **seed} for seed in seeds])
    cells = " | 2.000 ± 1.414" * len(COLUMNS)
    assert table.splitlines()[2:] == [
        f"| `ring` | 2{cells} | 120 |",
        "| true samples | |  |  |  |  | 0.250 | 0.500 |  | |",
    ]


@pytest.fixture
def tiny_presets(monkeypatch):
    def find(name):
        return Preset(name, PRESETS[name], "a test", "nothing", "here")

    monkeypatch.setattr(experiment, "get_preset", find)


def test_second_call_trains_nothing_and_says_the_same(
    compared, copy, tiny_presets, capsys, monkeypatch
):
    def refuse(self, *arguments):
        raise AssertionError("nothing is to be computed")

    monkeypatch.setattr(AheadOfTime, "__call__", refuse)
    before = contents(copy)
    words = ["compare", "slow", "fast", "--seeds", "1", "--run-dir", str(copy)]
    assert experiment.main(words) == 0
    assert capsys.readouterr().out == compared[1]
    assert contents(copy) == before


def test_runs_of_another_length_are_refused(copy, tiny_presets, capsys):
    words = ["compare", "slow", "--seeds", "1", "--steps", "20", "--run-dir", str(copy)]
    assert experiment.main(words) == 2
    assert "steps: 10 -> 20" in capsys.readouterr().err


def test_comparison_that_was_stopped_goes_on(compared, copy, monkeypatch):
    (copy / "table.md").unlink()
    shutil.rmtree(copy / "fast")
    original, signals = AheadOfTime.__call__, iter([signal.SIGTERM])

    def stop(self, *arguments):
        found = original(self, *arguments)
        # Once: a second one would end the process at once.
        for number in signals:
            signal.raise_signal(number)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(AheadOfTime, "__call__", stop)
        assert compare(experiment.MGAN, PRESETS, 1, copy) == (143, "")
    assert not (copy / "table.md").exists()
    status, table = compare(experiment.MGAN, PRESETS, 1, copy)
    assert status == 0
    assert rows(copy / "fast" / "0") == rows(compared[0] / "fast" / "0")
    attempts = rows(copy / "fast" / "0", "attempts.jsonl")
    assert [row["step"] for row in attempts] == [0, 5]
    # All but the seconds, which are those of other runs.
    ours, theirs = (
        [line.rsplit("|", 2)[0] for line in text.splitlines()]
        for text in (table, compared[1])
    )
    assert ours == theirs
