"""The script for a borrowed GPU: every step has its turn, and what fails is told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.sh"

STUB = """#!/bin/sh
echo "$*"
case "$*" in
  *benchmarks.optimizer.step*) exit 3 ;;
  *benchmarks.throughput.resnet50*) echo '{}' > "$LARS_JAX_RECORDS/resnet50.json" ;;
esac
"""


def run(*words, python, **changes):
    return subprocess.run(
        ["bash", SCRIPT, *words],
        env=os.environ | {"PYTHON": str(python)} | changes,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def stub(tmp_path):
    path = tmp_path / "python"
    path.write_text(STUB)
    path.chmod(0o755)
    return path


def test_a_step_that_fails_leaves_the_others_their_turn(tmp_path, stub):
    out = tmp_path / "out"
    found = run("--part", "1", str(out), python=stub)
    assert found.returncode == 1
    ends = [line for line in found.stdout.splitlines() if ": status" in line]
    assert [line.split()[1:4] for line in ends] == [
        ["versions:", "status", "0"],
        ["correctness:", "status", "0"],
        ["optimizer_step:", "status", "3"],
        ["resnet50:", "status", "0"],
    ]
    assert (out / "resnet50.json").exists()
    assert "--networks resnet50" in (out / "optimizer_step.txt").read_text()


def test_time_limits_of_a_part_are_six_minutes_in_all():
    limits = {"part_1": 0, "part_2": 0}
    part = ""
    for line in SCRIPT.read_text().splitlines():
        part = line.removesuffix("() {") if line.endswith("() {") else part
        if line.startswith("  step "):
            limits[part] += int(line.split()[1])
    assert 300 <= limits["part_1"] <= 360
    assert 300 <= limits["part_2"] <= 360


@pytest.mark.parametrize("words", [[], ["--part", "3", "out"], ["--fast", "out"]])
def test_wrong_words_are_told_how_it_is_used(words, stub):
    found = run(*words, python=stub)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("usage: ")


@pytest.mark.slow
def test_whole_script_is_rehearsed_on_the_cpu(tmp_path):
    out = tmp_path / "out"
    found = run("--rehearse", str(out), python=sys.executable, JAX_NUM_CPU_DEVICES="1")
    assert found.returncode == 0, found.stdout[-5000:]
    assert found.stdout.count("status 0") == 8
    names = {path.name for path in out.glob("*.json")}
    assert names == {
        "cifar10_94_cpu.json",
        "cifar10_throughput_cpu.json",
        "optimizer_step.json",
        "resnet50_throughput_cpu.json",
    }
    assert (out / "grid" / "table.md").exists()
    assert (out / "mgan" / "report.html").exists()
