"""A signal in any phase of a run saves it, and it then ends as it would have."""

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.faults.phases import LONG, disturbed
from experiments.toy import TOY, Toy, main
from lars_jax.runs import cli
from lars_jax.train.ahead import AheadOfTime
from tests.runs.support import RUN, last_state
from tests.whole_runs import one_device, rows, stopped

ROOT = Path(__file__).parents[2]


def in_step(patch, number):
    """Send the signal while the step of the given number, from 1, is under way."""
    original, calls = AheadOfTime.__call__, iter(range(1, 1000))

    def called(self, *arguments):
        found = original(self, *arguments)
        if next(calls) == number:
            signal.raise_signal(signal.SIGTERM)
        return found

    patch(AheadOfTime, "__call__", called)


PHASES = {
    # name: (phase, number of the event, step that is saved)
    "loading": ("loading", 0, None),
    "compilation": ("compilation", 0, 0),
    # The loop runs eight steps ahead of the rows that it looks at.
    "first row": ("training", 0, 9),
    "row before an evaluation": ("training", 9, 10),
    "last row": ("training", 39, 40),
    "data wait": ("data wait", 17, 17),
    "first evaluation": ("evaluation", 0, 10),
    "later evaluation": ("evaluation", 2, 30),
    "last evaluation": ("evaluation", 3, 40),
    "finish": ("finish", 0, 40),
}


@pytest.mark.parametrize(
    ("phase", "number", "saved"), PHASES.values(), ids=list(PHASES)
)
def test_signal_in_a_phase_saves_and_loses_nothing(
    finished, tmp_path, capfd, phase, number, saved
):
    directory = tmp_path / "run"
    with disturbed(TOY, phase, number) as experiment:
        started = time.monotonic()
        assert cli.main(experiment, [*RUN, "--run-dir", str(directory)]) == 143
        assert time.monotonic() - started < LONG / 2
    said = capfd.readouterr().err
    assert "Traceback" not in said
    if saved is None:
        assert "stopped before the first step" in said
        assert not directory.exists()
    else:
        assert f"stopped and saved at step {saved} of 40" in said
        assert f"--run-dir {directory} --resume goes on from there" in said
    assert main([*RUN, "--run-dir", str(directory), "--resume-if-any"]) == 0
    assert rows(directory) == rows(finished)
    assert last_state(directory) == last_state(finished)


def test_stop_after_every_step_ends_like_none(finished, tmp_path, monkeypatch):
    directory = tmp_path / "run"
    words = [*RUN, "--run-dir", str(directory), "--resume-if-any"]
    for stop in (7, 3, 1, 15):
        with monkeypatch.context() as patched:
            in_step(patched.setattr, stop)
            assert main(words) == 143
    assert main(words) == 0
    assert rows(directory) == rows(finished)
    assert last_state(directory) == last_state(finished)
    attempts = [row["step"] for row in rows(directory, "attempts.jsonl")]
    assert attempts == [0, 7, 10, 11, 26]


class Stuck(Toy):
    """A program none of whose steps ends."""

    def fit(self, state, **options):
        signal.raise_signal(signal.SIGTERM)
        time.sleep(LONG)
        return state, 0


def stuck(arguments: list[str], kind: str) -> subprocess.CompletedProcess[str]:
    program = (
        "import sys\nfrom tests.runs import test_signals as tests\n"
        f"sys.exit(tests.main_of(tests.{kind}, sys.argv[1:]))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env=one_device(),
        capture_output=True,
        text=True,
        timeout=LONG,
    )


def main_of(program, words):
    return cli.main(replace(TOY, build=program), words)


@pytest.mark.slow
def test_step_that_never_ends_is_given_up_after_the_grace(tmp_path):
    words = [*RUN, "--grace", "0.5", "--run-dir", str(tmp_path / "run")]
    done = stuck(words, "Stuck")
    assert done.returncode == 143, done.stderr
    assert "no step ended within 0.5 s of the signal" in done.stderr


class Twice(Toy):
    """A program that gets two signals of a kind in a step that does not end."""

    def fit(self, state, **options):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.1)  # Two that come before one is heard are one.
        time.sleep(LONG)
        return state, 0


@pytest.mark.slow
def test_second_signal_of_a_kind_ends_the_process_at_once(tmp_path):
    done = stuck([*RUN, "--run-dir", str(tmp_path / "run")], "Twice")
    assert done.returncode == 130
    assert done.stderr.endswith("stopped without saving\n")


TOTAL = 3000
SLOW = ["train", "--rate", "0.999", "--devices", "1", "--steps", f"{TOTAL}"]
SLOW += ["--eval-every", "1000", "--checkpoint-every", "200"]
"""Some seconds of work."""


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Return the directory of a longer run without a break."""
    directory = tmp_path_factory.mktemp("straight") / "run"
    assert main([*SLOW, "--run-dir", str(directory)]) == 0
    return directory


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGKILL, -9),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
    ],
)
def test_process_that_is_stopped_goes_on_bit_for_bit(
    straight, tmp_path, number, status
):
    directory = tmp_path / "run"
    returned, said = stopped(directory, 500, number, *SLOW, module="experiments.toy")
    assert returned == status, said
    assert "Traceback" not in said
    if number != signal.SIGKILL:
        assert "stopped and saved at step" in said
    assert all(row["step"] < TOTAL for row in rows(directory))
    assert main([*SLOW, "--run-dir", str(directory), "--resume"]) == 0
    assert rows(directory) == rows(straight)
    assert last_state(directory) == last_state(straight)
