"""A pipeline runs what is not current, and nothing else."""

import json
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from lars_jax import InputError
from lars_jax.runs import Stage, is_coherent, run_stages
from lars_jax.runs.stages import has_settings
from lars_jax.train import Interrupt, Interrupted
from lars_jax.train.config import to_json
from lars_jax.train.record import lock


@dataclass(frozen=True)
class Config:
    """Settings of two stages, and one of neither."""

    number: int = 3
    factor: int = 2
    seed: int = 0


def write(config, inputs, output, interrupt):
    assert not list(output.iterdir())
    (output / "deep").mkdir()
    (output / "deep" / "number").write_text(str(config.number % 10))


def multiply(config, inputs, output, interrupt):
    number = int((inputs["write"] / "deep" / "number").read_text())
    (output / "product").write_text(str(config.factor * number))


def report(config, inputs, output, interrupt):
    (output / "text").write_text((inputs["multiply"] / "product").read_text())


STAGES = [
    Stage("write", write, settings=("number",)),
    Stage("multiply", multiply, needs=("write",), settings=("factor",)),
    Stage("report", report, needs=("multiply",)),
]


def ran(directory, config=Config(), stages=STAGES, **options):
    return run_stages(stages, config, directory, say=lambda line: None, **options)


@pytest.fixture
def done(tmp_path):
    assert ran(tmp_path / "work") == ["write", "multiply", "report"]
    return tmp_path / "work"


def test_stages_hand_their_files_on(done):
    assert (done / "report" / "text").read_text() == "6"
    assert {path.name for path in done.iterdir()} == {
        *("write", "multiply", "report", ".lock")
    }


def test_what_is_current_is_passed_over(done):
    before = (done / "report" / "manifest.json").stat().st_mtime_ns
    assert ran(done) == []
    assert ran(done, Config(seed=7)) == []
    assert (done / "report" / "manifest.json").stat().st_mtime_ns == before


def test_changed_settings_run_their_stage_and_what_follows(done):
    assert ran(done, Config(factor=5)) == ["multiply", "report"]
    assert (done / "report" / "text").read_text() == "15"


def test_what_follows_is_current_where_the_files_came_out_the_same(done):
    assert ran(done, Config(number=13)) == ["write"]


@pytest.mark.parametrize(
    ("break_", "expected"),
    [
        (lambda p: (p / "multiply/product").write_text("7"), ["multiply"]),
        (lambda p: (p / "multiply/product").unlink(), ["multiply"]),
        (lambda p: (p / "multiply/more").write_text(""), ["multiply"]),
        (lambda p: (p / "write/manifest.json").unlink(), ["write"]),
        (lambda p: (p / "write/manifest.json").write_text("{"), ["write"]),
    ],
    ids=["changed", "lost", "added", "no manifest", "broken manifest"],
)
def test_damaged_stage_runs_again(done, break_, expected):
    break_(done)
    assert ran(done) == expected
    assert (done / "report" / "text").read_text() == "6"


def test_stage_that_was_killed_starts_clean(tmp_path):
    def dies(config, inputs, output, interrupt):
        (output / "half").write_text("half")
        raise MemoryError

    stages = [STAGES[0], replace(STAGES[1], run=dies), STAGES[2]]
    with pytest.raises(MemoryError):
        ran(tmp_path, stages=stages)
    assert not (tmp_path / "multiply").exists()
    assert (tmp_path / "multiply.partial" / "half").exists()
    assert ran(tmp_path) == ["multiply", "report"]
    assert not (tmp_path / "multiply.partial").exists()
    assert not (tmp_path / "multiply" / "half").exists()


def test_stage_that_is_killed_anew_leaves_what_was_there(done):
    def dies(config, inputs, output, interrupt):
        raise MemoryError

    stages = [STAGES[0], replace(STAGES[1], run=dies), STAGES[2]]
    with pytest.raises(MemoryError):
        ran(done, Config(factor=5), stages)
    assert (done / "multiply" / "product").read_text() == "6"
    assert ran(done) == []


def test_only_one_stage_is_run(done):
    assert ran(done, Config(factor=5), only="multiply") == ["multiply"]
    assert ran(done, only="write") == []


def test_only_stage_whose_needs_are_not_current_is_refused(done):
    with pytest.raises(InputError) as caught:
        ran(done, Config(factor=5), only="report")
    assert str(caught.value) == (
        "a stage must have what it needs; got --only report while multiply is not "
        "current: run --only multiply first, or leave --only out"
    )


def test_only_stage_of_an_empty_directory_names_the_first(tmp_path):
    with pytest.raises(InputError, match="while write is not current"):
        ran(tmp_path, only="report")


def test_forced_stage_runs_though_it_is_current(done):
    assert ran(done, force=["write"]) == ["write"]
    assert ran(done, force=["write", "report"]) == ["write", "report"]


@pytest.mark.parametrize("options", [{"only": "sing"}, {"force": ["sing"]}])
def test_unknown_stage_is_refused(tmp_path, options):
    with pytest.raises(InputError, match="one of write, multiply, report; got 'sing'"):
        ran(tmp_path, **options)


@pytest.mark.parametrize(
    "stages", [[STAGES[1], STAGES[0]], [STAGES[0], STAGES[0]]], ids=["order", "twice"]
)
def test_impossible_order_is_refused(tmp_path, stages):
    with pytest.raises(InputError, match="must come once, after those that it needs"):
        ran(tmp_path, stages=stages)
    assert list(tmp_path.iterdir()) == []


def test_signal_stops_between_stages(tmp_path):
    def signalled(config, inputs, output, interrupt):
        write(config, inputs, output, interrupt)
        signal.raise_signal(signal.SIGTERM)

    stages = [replace(STAGES[0], run=signalled), *STAGES[1:]]
    with Interrupt() as interrupt, pytest.raises(Interrupted):
        ran(tmp_path, stages=stages, interrupt=interrupt)
    assert ran(tmp_path) == ["multiply", "report"]


def test_pipeline_is_worked_at_by_one_process(tmp_path):
    with lock(tmp_path), pytest.raises(InputError, match="another is at work"):
        ran(tmp_path)


def test_manifest_says_what_a_stage_was_made_of(done):
    manifest = json.loads((done / "multiply" / "manifest.json").read_text())
    assert manifest.keys() == {"stage", "settings", "inputs", "outputs"}
    assert manifest["inputs"].keys() == {"write"}
    assert manifest["outputs"].keys() == {"product"}


def count_up(config, inputs, output, interrupt):
    """Make three files, one after another, and die once the first is there."""
    for number in range(3):
        path = output / str(number)
        if path.exists():
            continue
        path.write_text(str(config.number))
        if number == 0:
            raise MemoryError


COUNTED = [Stage("count", count_up, settings=("number",), resumes=True)]


def test_stage_that_can_goes_on_where_it_was_killed(tmp_path):
    with pytest.raises(MemoryError):
        ran(tmp_path, stages=COUNTED)
    first = (tmp_path / "count.partial" / "0").stat().st_mtime_ns
    assert ran(tmp_path, stages=COUNTED) == ["count"]
    assert json.loads((tmp_path / "count/log/time.json").read_text())["resumed"]
    assert (tmp_path / "count" / "0").stat().st_mtime_ns == first
    assert ran(tmp_path, stages=COUNTED) == []


def test_what_no_stage_has_left_is_not_replaced(tmp_path):
    (tmp_path / "write").mkdir()  # Empty, it is nobody's.
    assert ran(tmp_path, only="write") == ["write"]
    own = tmp_path / "report"
    own.mkdir()
    (own / "clip.mp4").write_text("mine")
    begun = []
    with pytest.raises(InputError, match=r"report holds something else: name another"):
        ran(tmp_path, begin=lambda: begun.append(1))
    assert (own / "clip.mp4").read_text() == "mine"
    assert not begun
    (own / "clip.mp4").rename(tmp_path / "clip.mp4")
    assert ran(tmp_path) == ["multiply", "report"]


@pytest.mark.parametrize("resumes", [True, False])
def test_stage_that_is_killed_as_it_ends_is_not_worked_again(
    tmp_path, monkeypatch, resumes
):
    made = []

    def make(config, inputs, output, interrupt):
        made.append(config.number)
        (output / "made").write_text(str(config.number))

    def killed(self, target):
        raise KeyboardInterrupt

    stages = [Stage("make", make, settings=("number",), resumes=resumes)]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            ran(tmp_path, stages=stages)
    assert ran(tmp_path, stages=stages) == ["make"]
    assert (tmp_path / "make" / "made").read_text() == "3"
    assert made == [3]
    assert ran(tmp_path, Config(number=4), stages) == ["make"]
    assert made == [3, 4]


def test_changed_settings_do_not_go_on_with_the_files_of_others(tmp_path):
    for number in (3, 4):
        with pytest.raises(MemoryError):
            ran(tmp_path, Config(number=number), COUNTED)
    assert ran(tmp_path, Config(number=4), COUNTED) == ["count"]
    found = {(tmp_path / "count" / str(n)).read_text() for n in range(3)}
    assert found == {"4"}


def test_how_a_stage_went_is_no_result(done):
    took = json.loads((done / "write" / "log" / "time.json").read_text())
    assert 0 < took["seconds"] < 60
    assert not took["resumed"]
    (done / "write" / "log" / "times").write_text("3 s")
    assert ran(done) == []


def test_what_a_stage_reads_beside_the_others_matters(tmp_path):
    place, outside = tmp_path / "work", tmp_path / "outside"

    def copy(config, inputs, output, interrupt):
        (output / "copied").write_text(outside.read_text())

    def read(config):
        if not outside.exists():
            raise InputError("there is nothing outside")
        return {"outside": outside.read_text()}

    stages = [Stage("copy", copy, reads=read), Stage("report", nothing, ("copy",))]
    with pytest.raises(InputError, match="nothing outside"):
        ran(place, stages=stages)
    assert not place.exists()
    outside.write_text("first")
    assert ran(place, stages=stages) == ["copy", "report"]
    assert ran(place, stages=stages) == []
    outside.write_text("second")
    assert ran(place, stages=stages) == ["copy", "report"]
    outside.write_text("third")
    with pytest.raises(InputError, match="copy is not current"):
        ran(place, stages=stages, only="report")


def nothing(config, inputs, output, interrupt):
    (output / "nothing").write_text("")


def test_nothing_begins_where_something_is_refused(done):
    began = []
    with pytest.raises(InputError, match="write is not current"):
        ran(done, Config(number=5), only="multiply", begin=lambda: began.append(1))
    assert not began
    with lock(done), pytest.raises(InputError):
        ran(done, begin=lambda: began.append(1))
    assert not began
    assert ran(done, only="multiply", begin=lambda: began.append(1)) == []
    assert began == [1]


def test_what_was_made_with_other_settings_is_told_from_what_was_not(done):
    def told(config, stages=STAGES):
        return [
            has_settings(stages, to_json(config), done, stage.name) for stage in STAGES
        ]

    assert told(Config()) == told(Config(seed=7)) == [True, True, True]
    # What follows from what was made with others was so, too.
    assert told(Config(factor=9)) == [True, False, False]
    assert told(Config(number=9)) == [False, False, False]
    assert told(Config(), STAGES[:2]) == [True, True, False]
    (done / "write" / "manifest.json").write_text("{")
    assert told(Config()) == [False, False, False]


def test_what_was_made_of_other_files_is_not_coherent(done):
    assert all(is_coherent(done, stage.name) for stage in STAGES)
    assert not is_coherent(done, "another")
    ran(done, Config(number=4), only="write")
    found = {stage.name: is_coherent(done, stage.name) for stage in STAGES}
    # What follows from what follows is of those other files, too.
    assert found == {"write": True, "multiply": False, "report": False}
