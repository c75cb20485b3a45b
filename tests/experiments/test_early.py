"""Ctrl-C before a command has begun."""

import subprocess
import sys

import pytest

KILL = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"


@pytest.mark.parametrize(
    ("between", "status", "said"),
    [("", 130, "stopped before anything was begun\n"), ("early.over()", 0, "raised\n")],
)
def test_ctrl_c_ends_an_import_and_may_be_caught_after_it(between, status, said):
    # What has begun this in the background may have had it ignored.
    program = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from experiments import early
{between}
try:
    {KILL}
except KeyboardInterrupt:
    print("raised")
"""
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert found.returncode == status
    assert found.stdout + found.stderr == said
