"""A run leaves what it promises, and goes on as if nothing had happened."""

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest

from experiments.toy import SIZE, TOY, Config, Toy, main
from lars_jax import InputError, TrainState, lars
from lars_jax.runs import Experiment
from lars_jax.runs.checks import IgnoredError
from lars_jax.runs.restore import evaluate, export, load_config, restore
from lars_jax.runs.train import train
from lars_jax.train.record import lock, read_json
from tests.runs.support import RUN, kept, last_state
from tests.whole_runs import rows


def begun(directory: Path, experiment: Experiment[Config] = TOY, **changes):
    config = Config(steps=40, eval_every=10, devices=1, **changes)
    return train(experiment, config, directory, resume="if_any")


def test_every_promised_file_is_there(finished):
    names = {path.name for path in finished.iterdir()}
    promised = {"config.json", "attempts.jsonl", "metrics.jsonl", "checkpoints"}
    assert promised | {"report.txt"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert "layers.jsonl" not in names
    assert not any(name.endswith("tmp") for name in names)


def test_numbers_are_those_of_the_science(finished):
    start = np.random.default_rng(0).normal(size=SIZE).astype(np.float32)
    steps = [row for row in rows(finished) if "loss" in row]
    expected = [np.linalg.norm(start) * 0.9**step for step in range(1, 41)]
    assert [row["step"] for row in steps] == list(range(1, 41))
    np.testing.assert_allclose([row["loss"] for row in steps], expected, rtol=1e-5)
    evaluated = [row for row in rows(finished) if "eval/largest" in row]
    assert [row["step"] for row in evaluated] == [10, 20, 30, 40]
    found = [row["eval/largest"] for row in evaluated]
    expected = [np.abs(start).max() * 0.9**step for step in (10, 20, 30, 40)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_record_holds_configuration_and_environment(finished):
    record = read_json(finished / "config.json")
    assert record["preset"] == "slow"
    assert {"digest", "config", "resolved", "environment"} <= record.keys()
    assert {"jax", "optax", "device_kind"} <= record["environment"].keys()
    assert load_config(TOY, finished) == Config(steps=40, eval_every=10, devices=1)
    (attempt,) = rows(finished, "attempts.jsonl")
    assert (attempt["step"], attempt["processes"]) == (0, 1)


def test_field_newer_than_a_run_has_its_default(finished, tmp_path):
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    record = read_json(copy / "config.json")
    del record["config"]["keep_every"]
    (copy / "config.json").write_text(json.dumps(record))
    assert load_config(TOY, copy).keep_every is None
    assert main([*RUN, "--run-dir", str(copy), "--resume"]) == 0


def test_finished_run_that_is_resumed_stays_as_it_was(finished, tmp_path):
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    assert main([*RUN, "--run-dir", str(copy), "--resume"]) == 0
    assert rows(copy) == rows(finished)
    assert last_state(copy) == last_state(finished)
    assert [row["step"] for row in rows(copy, "attempts.jsonl")] == [0, 40]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([], "already holds this run: add --resume"),
        (["--resume", "--seed", "1"], "seed: 0 -> 1: undo the change"),
    ],
)
def test_directory_of_another_run_is_refused(finished, tmp_path, capsys, more, says):
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    assert main([*RUN, "--run-dir", str(copy), *more]) == 2
    assert says in capsys.readouterr().err
    assert rows(copy, "attempts.jsonl") == rows(finished, "attempts.jsonl")


def test_run_that_is_not_there_cannot_be_resumed(tmp_path, capsys):
    assert main([*RUN, "--run-dir", str(tmp_path / "run"), "--resume"]) == 2
    assert "--resume needs a run to go on with" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_one_command_starts_and_restarts(finished, tmp_path):
    directory = tmp_path / "run"
    for _ in range(2):
        words = [*RUN, "--run-dir", str(directory), "--resume-if-any"]
        assert main(words) == 0
    assert rows(directory) == rows(finished)


def test_two_processes_may_not_write_one_run(finished, tmp_path, capsys):
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    with lock(copy):
        assert main([*RUN, "--run-dir", str(copy), "--resume"]) == 2
    assert "another is at work" in capsys.readouterr().err


def test_what_another_run_has_left_is_not_written_among(finished, tmp_path, capsys):
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    (copy / "config.json").unlink()
    assert main([*RUN, "--run-dir", str(copy)]) == 2
    assert "has checkpoints and no config.json: name another" in capsys.readouterr().err
    assert rows(copy) == rows(finished)


def test_run_that_began_with_an_ignored_setting_goes_on(finished, tmp_path):
    def refuse(config):
        raise IgnoredError("rate is ignored")

    experiment = replace(TOY, check=refuse)
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    assert begun(copy, experiment).step == 40
    assert evaluate(experiment, copy)["step"] == 40.0
    with pytest.raises(IgnoredError):
        begun(tmp_path / "new", experiment)


def test_run_that_another_has_overtaken_leaves_that_alone(finished, tmp_path):
    class Late(Toy):
        """Another run begins, and ends, while it loads."""

        def init(self):
            shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
            return super().init()

    with pytest.raises(InputError, match=r"another run has begun in .* meanwhile"):
        begun(tmp_path, replace(TOY, build=Late), seed=1)
    assert rows(tmp_path) == rows(finished)
    assert load_config(TOY, tmp_path) == load_config(TOY, finished)


class Growing(Toy):
    """The best of whose states is the first, so that it is not among the last."""

    def score(self, evaluation):
        return evaluation.get("largest")


def test_last_two_the_best_and_those_for_good_are_kept(tmp_path):
    begun(tmp_path / "best", replace(TOY, build=Growing))
    assert kept(tmp_path / "best") == [10, 30, 40]
    begun(tmp_path / "kept", keep_every=20)
    assert kept(tmp_path / "kept") == [20, 30, 40]
    growing = replace(TOY, build=Growing)
    assert evaluate(growing, tmp_path / "best", "best")["step"] == 10.0
    assert evaluate(growing, tmp_path / "best")["step"] == 40.0


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_exported_weights_begin_another_run(finished, tmp_path, kind):
    file = tmp_path / f"weights.{kind}"
    assert export(TOY, finished, file) == 40
    words = ["train", "--devices", "1", "--steps", "1", "--init-from", str(file)]
    assert main([*words, "--run-dir", str(tmp_path / "run")]) == 0
    first = rows(tmp_path / "run")[0]["loss"]
    assert first == pytest.approx(0.9 * rows(finished)[-2]["loss"], rel=1e-6)


def test_run_that_is_stopped_before_it_saves_begins_with_its_file(
    finished, tmp_path, monkeypatch
):
    file = tmp_path / "weights.npz"
    export(TOY, finished, file)
    words = [*RUN, "--init-from", str(file), "--run-dir", str(tmp_path / "run")]
    with monkeypatch.context() as patched:
        patched.setattr(Toy, "fit", killed)
        with pytest.raises(Killed):
            main(words)
    assert main([*words, "--resume"]) == 0
    first = rows(tmp_path / "run")[0]["loss"]
    assert first == pytest.approx(0.9 * rows(finished)[-2]["loss"], rel=1e-6)


class Killed(Exception):
    """Stands for the end of the process."""


def killed(self, state, **options):
    raise Killed


def test_damaged_newest_checkpoint_is_set_aside(finished, tmp_path, capfd):
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    for path in (copy / "checkpoints" / "40").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:10])
    assert main([*RUN, "--run-dir", str(copy), "--resume"]) == 0
    said = capfd.readouterr().err
    assert said.count("broken-checkpoint-40") == 1
    assert "Traceback" not in said
    assert (copy / "broken-checkpoint-40").is_dir()
    assert rows(copy) == rows(finished)
    assert last_state(copy) == last_state(finished)


def test_run_goes_on_with_other_devices(finished, tmp_path):
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    for step in (40, 30):
        shutil.rmtree(copy / "checkpoints" / str(step))
    (copy / "report.txt").unlink()
    shutil.copytree(finished / "checkpoints" / "30", copy / "checkpoints" / "30")
    words = [*RUN, "--devices", "4", "--run-dir", str(copy), "--resume"]
    assert main(words) == 0
    found = [(row["step"], row["devices"]) for row in rows(copy, "attempts.jsonl")]
    assert [step for step, _ in found] == [0, 30]
    assert rows(copy) == rows(finished)
    assert last_state(copy) == last_state(finished)


def test_run_on_more_devices_than_there_are_is_read_on_those_there_are(
    finished, tmp_path
):
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    text = (copy / "config.json").read_text()
    many = 16 * jax.device_count()
    (copy / "config.json").write_text(
        text.replace('"devices": 1', f'"devices": {many}')
    )
    found = restore(TOY, copy)
    assert (found.step, found.config.devices) == (40, None)


def test_evaluation_changes_a_field_that_is_asked_for(finished):
    assert restore(TOY, finished, rate=0.5).config.rate == 0.5


def test_run_without_a_checkpoint_cannot_be_read(finished, tmp_path):
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(InputError, match="must have a checkpoint to read; .* has none"):
        restore(TOY, copy)
    assert not (copy / "checkpoints").exists()


class Momentum(Toy):
    """A program with the state of an optimizer, whose one step changes nothing."""

    tx = optax.sgd(0.1, momentum=0.9)

    def like(self):
        return self.parallel.replicate(TrainState.create(super().like(), {}, self.tx))

    def fit(self, state, *, hooks, **options):
        for hook in hooks:
            hook.run(self.config.steps, state)
        return state, self.config.steps

    def evaluate(self, state, interrupt):
        return super().evaluate(self.weights(state), interrupt)

    def weights(self, state: Any):
        return state.params

    def describe(self, state):
        return ()


class Lars(Momentum):
    """The same with another optimizer."""

    tx = lars(0.1)


class Other(Lars):
    """The same with another network, too."""

    def weights(self, state):
        return {"y": state.params["x"]}

    def like(self):
        state = super().like()
        return state._replace(params=self.weights(state))


def test_run_of_another_optimizer_is_evaluated_and_not_trained(tmp_path, capsys):
    directory = tmp_path / "run"
    kinds = (Momentum, Lars, Other)
    momentum, other, network = (replace(TOY, build=kind) for kind in kinds)
    begun(directory, momentum)
    export(momentum, directory, tmp_path / "expected.npz")
    capsys.readouterr()
    assert evaluate(other, directory) == evaluate(momentum, directory)
    (line,) = capsys.readouterr().err.splitlines()
    assert "differs in 7 of 9 leaves" in line
    assert line.endswith("read without its opt_state, which only training needs")
    export(other, directory, tmp_path / "found.npz")
    expected, found = (
        np.load(tmp_path / f"{name}.npz")["x"] for name in ("expected", "found")
    )
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found).min() > 0
    with pytest.raises(InputError, match="of the same model; .* differs in 7 of 9"):
        begun(directory, other)
    with pytest.raises(InputError, match=r"differs in 2 of 3 leaves, .*\['x'\]"):
        evaluate(network, directory)


class Told(Toy):
    """A program that says and leaves everything that a program may."""

    def resolved(self):
        return {"parts": 4}

    def baseline(self):
        return {"floor": 0.0}

    def layers(self, step, metrics):
        return {"x": {"norm": float(metrics["loss"])}} if step % 20 == 0 else None

    def on_evaluate(self, state, files):
        assert files.writes
        (files.directory / "evaluated").write_text("yes")

    def on_finish(self, state, files, interrupt):
        (files.directory / "finished").write_text("yes")


def test_program_leaves_what_it_wants_beside_its_numbers(tmp_path):
    directory = tmp_path / "run"
    seen = []

    def freeze(config, resolved):
        seen.append(resolved)
        return config

    told = replace(TOY, build=Told, freeze_auto=freeze)
    begun(directory, told)
    assert rows(directory)[0] == {"step": 0, "floor": 0.0}
    assert [row["step"] for row in rows(directory, "layers.jsonl")] == [20, 40]
    assert (directory / "evaluated").exists()
    assert (directory / "finished").exists()
    assert read_json(directory / "config.json")["resolved"] == {"parts": 4}
    assert seen == []
    shutil.rmtree(directory / "checkpoints" / "40")
    begun(directory, told)
    assert seen == [{"parts": 4}]
    assert [row["step"] for row in rows(directory, "layers.jsonl")] == [20, 40]
    assert sum("floor" in row for row in rows(directory)) == 1


def contents(directory):
    return {
        path.relative_to(directory): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def broken(finished, tmp_path):
    """Return a copy of a finished run that a test may break."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "must hold JSON"),
        ("[]", "must hold the configuration of a run"),
        ('{"config": {}}', "must hold the configuration of a run"),
    ],
)
@pytest.mark.parametrize("verb", ["eval", "report", "train"])
def test_record_that_is_none_is_refused(broken, capsys, verb, text, says):
    (broken / "config.json").write_text(text)
    words = [verb, str(broken)]
    if verb == "train":
        words = [*RUN, "--run-dir", str(broken), "--resume"]
    assert main(words) == 2
    assert says in capsys.readouterr().err


def test_record_of_another_version_is_refused(broken, capsys):
    record = read_json(broken / "config.json")
    record["config"]["warp"] = 9
    (broken / "config.json").write_text(json.dumps(record))
    for words in (["eval"], ["report"], [*RUN, "--resume", "--run-dir"]):
        assert main([*words, str(broken)]) == 2
        assert "unknown: ['warp']" in capsys.readouterr().err


def test_checkpoints_that_are_all_damaged_stop_a_resume_and_lose_nothing(
    broken, capsys
):
    for path in (broken / "checkpoints").rglob("d/*"):
        path.write_bytes(b"")
    before = contents(broken)
    assert main([*RUN, "--run-dir", str(broken), "--resume"]) == 2
    assert "a checkpoint must be whole" in capsys.readouterr().err
    assert contents(broken) == before


def test_run_directory_below_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([*RUN, "--run-dir", str(tmp_path / "file" / "run")]) == 2
    assert "run could not be written (Not a directory)" in capsys.readouterr().err


def test_run_directory_that_may_not_be_written(tmp_path, capsys, monkeypatch):
    # Permissions do not hold root back, so the refusal itself is played.
    def refuse(self, *arguments, **options):
        raise PermissionError(errno.EACCES, "denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert main([*RUN, "--run-dir", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "run could not be written (denied): correct the path or" in said
