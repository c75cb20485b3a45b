"""Whatever the system refuses, and wherever: one line, and nothing saved is lost."""

import builtins
import errno
import fcntl
import io
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.toy import main
from tests.runs.support import last_state

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
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    number=st.integers(0, 30),
    code=st.sampled_from(ERRORS),
)
def test_refused_call_is_a_line_and_the_run_goes_on(
    whole, tmp_path_factory, capsys, kind, number, code
):
    directory = tmp_path_factory.mktemp("refused") / "run"
    system = Refusing(directory, kind, number, code)
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


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_file_system_without_locks_is_told_and_used(tmp_path, capsys, code):
    with pytest.MonkeyPatch.context() as patch:
        Refusing(tmp_path, "flock", 0, code).install(patch)
        assert main([*SHORT, "--run-dir", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().err
    assert f"{tmp_path / 'run'} is on a file system without locks" in said
