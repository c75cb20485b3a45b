"""Files of a run that are not what it wrote: a line that names them, nothing lost."""

import json
import shutil
from pathlib import Path

import pytest

from experiments.toy import main
from lars_jax.errors import InputError
from lars_jax.train.record import read_json, read_lines, read_rows
from tests.runs.support import RUN

DEEP = "[" * 100_000
RECORDS = {
    "nothing": "",
    "no JSON": "{",
    "too deep": DEEP,
    "a list": "[]",
    "not UTF-8": b"\xff{}",
    "data of no kind": {"data": None},
    "data of a list": {"data": []},
    "a split of nothing": {"data": {"train": None}},
    "a split without a digest": {"data": {"train": {}}},
    "nothing resolved": {"resolved": None},
    "configuration of a list": {"config": []},
    "another experiment": {"config": {"network": "resnet8"}},
    "another type": {"config": {"steps": "many"}},
    "a huge number": {"config": {"rate": 10**400}},
}
"""What `config.json` has been made to hold, whole or beside what it had."""


def damaged(path, content):
    if isinstance(content, dict):
        content = json.dumps(read_json(path) | content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def refused(words, capsys):
    """Return the one line of a refusal."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


@pytest.fixture
def run(finished, tmp_path):
    """Return a copy of a finished run that a test may break."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def contents(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("content", RECORDS.values(), ids=RECORDS)
def test_record_that_is_not_its_own_is_refused(run, tmp_path, capsys, content):
    damaged(run / "config.json", content)
    before = contents(run)
    resumed = [*RUN, "--run-dir", run, "--resume"]
    for words in (["eval", run], ["export", run, tmp_path / "w.npz"], resumed):
        line = refused(words, capsys)
        assert "config" in line.lower() or "must be" in line
    assert contents(run) == before
    assert not (tmp_path / "w.npz").exists()


ROWS = ["{}", '{"step": "x"}', '{"step": null}', '{"step": 1, "loss": "x"}', "3", DEEP]
ROWS += ['{"step": 1, "layers": []}', '{"step": 1, "layers": {"a": 3}}', "\udcff"]


@pytest.mark.parametrize("row", ROWS, ids=[ascii(row)[:30] for row in ROWS])
def test_row_that_a_run_does_not_write_is_named(run, capsys, row):
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines()
    text = "\n".join([lines[0], row, *lines[1:]])
    path.write_bytes(text.encode(errors="surrogateescape"))
    before = contents(run)
    for words in ([*RUN, "--run-dir", run, "--resume"], ["report", run]):
        assert f"{path} must hold" in refused(words, capsys)
    assert contents(run) == before


def test_last_row_that_a_crash_cut_short_has_no_say(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "lo')
    assert list(read_rows(path)) == [{"step": 1, "loss": 0.5}]
    assert list(read_lines(tmp_path / "absent")) == []


def test_rows_that_are_a_directory_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"could not be read \(Is a directory\)"):
        list(read_lines(tmp_path))


def test_checkpoint_under_the_name_of_another_step_is_refused(run, capsys):
    (run / "checkpoints" / "40").rename(run / "checkpoints" / "50")
    line = refused(["eval", run], capsys)
    assert "checkpoints/50 is of step 40: rename it" in line


def test_file_in_the_place_of_all_checkpoints_is_met_at_once(run, capsys):
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").write_text("")
    before = contents(run)
    line = refused([*RUN, "--run-dir", run, "--resume"], capsys)
    assert "checkpoints could not be written (Not a directory)" in line
    assert contents(run) == before


def test_run_whose_checkpoints_are_gone_says_that_it_begins_anew(run, capsys):
    shutil.rmtree(run / "checkpoints")
    capsys.readouterr()
    assert main([*RUN, "--run-dir", str(run), "--resume"]) == 0
    assert f"{run} has no checkpoint yet: it begins anew" in capsys.readouterr().err
