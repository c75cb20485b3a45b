"""Whatever the system refuses, and wherever: one line, and nothing saved is lost."""

import builtins
import errno
import fcntl
import io
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.toy import main
from tests.runs.support import last_state

pytestmark = pytest.mark.slow

SHORT = ["train", "--devices", "1", "--steps", "8", "--eval-every", "4"]
SHORT += ["--checkpoint-every", "4"]

ERRORS = [
    *(errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EISDIR, errno.EMFILE),
    *(errno.ENAMETOOLONG, errno.ENODEV, errno.ENOENT, errno.ENOSPC, errno.ENOTDIR),
    *(errno.EPERM, errno.EREMOTEIO, errno.EROFS, errno.ESTALE, errno.ETIMEDOUT),
]
KINDS = {
    # What a run asks of the system: names of functions by module.
    "open": [(builtins, "open"), (io, "open")],
    "write": [],
    "mkdir": [(os, "mkdir")],
    "rename": [(os, "rename"), (os, "replace")],
    "flock": [(fcntl, "flock")],
}


CALLS = [(kind, n) for kind in ("open", "write", "rename") for n in range(24)]
# A save that may make no directory leaves threads that would keep the tests waiting.
CALLS += [("mkdir", 0), ("mkdir", 1), ("flock", 0)]

ALONE = """
import sys
import pytest
from experiments.toy import main
from lars_jax.train.interrupt import end
from tests.runs.test_system_errors import SHORT, Refusing

number, code, directory = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
with pytest.MonkeyPatch.context() as patch:
    Refusing(directory, "mkdir", number, code).install(patch)
    status = main([*SHORT, "--run-dir", directory])
end(status)
"""


class Refusing:
    """A system that refuses one call of a kind below a directory, the n-th."""

    def __init__(self, root: Path, kind: str, number: int, code: int):
        self.root, self.kind, self.left, self.code = str(root), kind, number, code
        self.refused = False

    def ask(self, kind: str, path: Any) -> None:
        if kind == self.kind and str(path).startswith(self.root):
            self.left -= 1
            if self.left < 0 and not self.refused:
                self.refused = True
                raise OSError(self.code, os.strerror(self.code))

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for kind, functions in KINDS.items():
            for module, name in functions:
                patch.setattr(module, name, self.asking(kind, getattr(module, name)))

    def asking(self, kind: str, function: Any) -> Any:
        def asked(path: Any, *arguments: Any, **options: Any) -> Any:
            self.ask(kind, getattr(path, "name", path) if kind == "flock" else path)
            found = function(path, *arguments, **options)
            mode = options.get("mode", arguments[0] if arguments else "r")
            if kind == "open" and set("wax") & set(mode):
                self.watch(found, path)
            return found

        return asked

    def watch(self, file: Any, path: Any) -> None:
        raw = getattr(file, "buffer", file)
        raw = getattr(raw, "raw", raw)
        # Of C, the file takes no other methods: what is beneath it is full instead.
        try:
            self.ask("write", path)
        except OSError:
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, raw.fileno())
            os.close(full)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the last state of a run that nothing was refused to."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    assert main([*SHORT, "--run-dir", str(directory)]) == 0
    return last_state(directory)


# Orbax leaves loops and TensorBoard files open where the system fails them.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    call=st.sampled_from(CALLS),
    code=st.sampled_from(ERRORS),
)
def test_refused_call_is_a_line_and_the_run_goes_on(
    whole, tmp_path_factory, capsys, call, code
):
    directory = tmp_path_factory.mktemp("refused") / "run"
    system = Refusing(directory, call[0], call[1], code)
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        system.install(patch)
        status = main([*SHORT, "--run-dir", str(directory)])
    said = capsys.readouterr().err
    if status:
        assert status == 2
        assert said.count("error: ") == 1
        assert str(directory) in said.splitlines()[-1]
        assert "could not be " in said.splitlines()[-1]
    assert "Traceback" not in said
    assert main([*SHORT, "--run-dir", str(directory), "--resume-if-any"]) == 0
    assert last_state(directory) == whole


@pytest.mark.parametrize("number", [3, 4, 5])
def test_save_that_may_make_no_directory_ends_at_once(whole, tmp_path, number):
    directory = tmp_path / "run"
    words = [sys.executable, "-c", ALONE, str(number), str(errno.EDQUOT), directory]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    line = f"error: {directory}/checkpoints could not be written (Disk quota exceeded)"
    assert line in ended.stderr
    assert "Traceback" not in ended.stderr
    assert main([*SHORT, "--run-dir", str(directory), "--resume-if-any"]) == 0
    assert last_state(directory) == whole


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_file_system_without_locks_is_told_and_used(tmp_path, capsys, code):
    with pytest.MonkeyPatch.context() as patch:
        Refusing(tmp_path, "flock", 0, code).install(patch)
        assert main([*SHORT, "--run-dir", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().err
    assert f"{tmp_path / 'run'} is on a file system without locks" in said


@pytest.mark.parametrize("streams", [">&- 2>&-", "2>/dev/full"])
def test_run_goes_on_though_nobody_can_listen(whole, tmp_path, streams):
    words = [sys.executable, "-m", "experiments.toy", *SHORT]
    line = f"{shlex.join(words)} --run-dir {tmp_path}/run {streams}"
    assert subprocess.run(line, shell=True, timeout=60).returncode == 0
    assert last_state(tmp_path / "run") == whole


def test_full_output_is_named(tmp_path):
    line = f"{sys.executable} -m experiments.toy list > /dev/full"
    ended = subprocess.run(line, shell=True, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 2
    said = "error: standard output or a file could not be used (No space left on device"
    assert ended.stderr.startswith(said)
    assert ended.stderr.count("\n") == 1
