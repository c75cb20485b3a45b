"""A path is written down so that it leads there from anywhere."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from experiments.toy import main
from lars_jax import InputError
from lars_jax.runs import DatasetName, PathText, read_run
from lars_jax.runs.paths import absolute_paths
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
