"""A path is written down so that it leads there from anywhere."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from experiments.toy import TOY, main
from experiments.toy import Config as ToyConfig
from lars_jax import InputError
from lars_jax.data import folder_source
from lars_jax.runs import (
    DataDirectory,
    DatasetName,
    PathText,
    Preset,
    cli,
    read_run,
)
from lars_jax.runs.paths import absolute_paths
from tests.data.support import write_digits
from tests.runs.support import RUN


@dataclass(frozen=True)
class Data:
    """A section with paths."""

    dataset: DatasetName = "digits"
    data_dir: PathText | None = None


@dataclass(frozen=True)
class Config:
    """A configuration with paths, and words that look like some."""

    data: Data = Data()
    network: str = "a/b"
    seed: int = 0


def test_paths_become_absolute_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = absolute_paths(Config(Data("folder:a/b", "~/c")))
    assert found == Config(Data(f"folder:{tmp_path}/a/b", str(Path.home() / "c")))
    assert absolute_paths(found) == found
    assert absolute_paths(Config()) == Config()


def test_url_in_a_configuration_is_refused():
    with pytest.raises(InputError, match="got gs://bucket/a"):
        absolute_paths(Config(Data("folder:gs://bucket/a")))


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--run-dir", "gs://bucket/run"],
        ["train", "--run-dir=s3://bucket/run"],
        ["train", "--init-from", "gs://bucket/w.npz"],
        ["eval", "gs://bucket/run"],
        ["export", "gs://bucket/run", "w.npz"],
        ["export", "nowhere", "gs://bucket/w.npz"],
        ["report", "gs://bucket/run"],
    ],
)
def test_url_is_refused_before_anything_is_made(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "a path must be one of this machine's file systems; got " in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_tilde_is_home_however_it_comes(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main([*RUN, "--run-dir=~/a"]) == 0
    assert main(["eval", "~/a"]) == 0
    assert main(["export", "~/a", "~/w.npz"]) == 0
    assert main([*RUN, "--init-from=~/w.npz", "--run-dir=~/b"]) == 0
    assert main(["report", "~/b"]) == 0
    assert list(Path().iterdir()) == []
    kept = read_run(Path("~/b"))["config"]["init_from"]
    assert kept == str(tmp_path / "home" / "w.npz")


def test_relative_path_is_the_same_run_from_elsewhere(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*RUN, "--run-dir=a"]) == 0
    assert main(["export", "a", "w.npz"]) == 0
    assert main([*RUN, "--init-from=w.npz", "--run-dir=b"]) == 0
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    words = [*RUN, "--init-from=../w.npz", "--run-dir=../b", "--resume"]
    assert main(words) == 2
    assert "init_from" in capsys.readouterr().err
    assert (
        main([*RUN, f"--init-from={tmp_path}/w.npz", "--run-dir=../b", "--resume"]) == 0
    )


def test_run_directory_with_a_name_too_long_is_refused(tmp_path, capsys):
    assert main([*RUN, "--run-dir", str(tmp_path / ("a" * 300))]) == 2
    said = capsys.readouterr().err
    assert "could not be read (File name too long): correct the path or" in said
    assert said.count("\n") == 1


@dataclass(frozen=True)
class Moving(ToyConfig):
    """The toy's configuration, with data in a folder."""

    dataset: DatasetName = "folder:nowhere"
    data_dir: DataDirectory | None = None


def read_folder(config):
    return {"train": folder_source(config.dataset.removeprefix("folder:"), "train")}


MOVING = replace(
    TOY,
    config=Moving,
    sources=read_folder,
    presets={"slow": Preset("slow", Moving(), "arithmetic", "", "")},
)


def test_data_that_were_moved_are_found_again(tmp_path, capsys):
    write_digits(tmp_path / "here", count=8)
    words = [*RUN, "--run-dir", str(tmp_path / "run")]
    here, there = (f"folder:{tmp_path}/{name}" for name in ("here", "there"))
    assert cli.main(MOVING, [*words, "--dataset", here]) == 0
    (tmp_path / "here").rename(tmp_path / "there")
    run = str(tmp_path / "run")
    for kept in (["eval", run], ["export", run, str(tmp_path / "w.npz")]):
        assert cli.main(MOVING, kept) == 2
        assert "got no folder" in capsys.readouterr().err
        assert cli.main(MOVING, [*kept, "--data-at", f"{tmp_path}/there"]) == 0
    resumed = [*words, "--resume", "--dataset"]
    assert cli.main(MOVING, [*resumed, here]) == 2
    assert cli.main(MOVING, [*resumed, there]) == 0
    # From now on they are there.
    assert read_run(tmp_path / "run")["config"]["dataset"] == there
    assert cli.main(MOVING, ["eval", str(tmp_path / "run")]) == 0


def test_other_data_in_another_place_are_refused(tmp_path, capsys):
    write_digits(tmp_path / "here", count=8)
    write_digits(tmp_path / "there", count=9)
    words = [*RUN, "--run-dir", str(tmp_path / "run"), "--dataset"]
    assert cli.main(MOVING, [*words, f"folder:{tmp_path}/here"]) == 0
    capsys.readouterr()
    words = [*words, f"folder:{tmp_path}/there"]
    assert cli.main(MOVING, [*words, "--resume"]) == 2
    assert "0008.png is new: put them back" in capsys.readouterr().err
    kept = ["eval", str(tmp_path / "run"), "--data-at", str(tmp_path / "there")]
    assert cli.main(MOVING, kept) == 2
    assert cli.main(MOVING, [*words[:-1], "folder:elsewhere", "--resume"]) == 2
