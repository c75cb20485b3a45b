import os
import pickle
import subprocess
import sys
from dataclasses import replace

import jax
import pytest
from jax.experimental import serialize_executable

from experiments.lars.experiment import LARS
from lars_jax.compiler.targets import CHIPS, Target
from lars_jax.errors import InputError
from lars_jax.runs import compile as verb
from lars_jax.runs.cli import main, parse_preset


def asked(*words):
    return *parse_preset(LARS, verb.Compile[LARS.config], "compile", words), words


def inside(monkeypatch, target):
    """Be the process that compiles, for the devices of this machine."""
    monkeypatch.setenv(verb.INNER, "1")
    monkeypatch.setattr(verb, "find_target", lambda topology, slices: target)


@pytest.fixture
def four():
    """Return four of this machine's devices in the place of a TPU's."""
    return Target("v5e:2x2", tuple(jax.devices()[:4]), CHIPS["v5e"], 1)


@pytest.mark.slow
def test_step_is_compiled_and_what_it_costs_is_printed(
    monkeypatch, capsys, tmp_path, four
):
    inside(monkeypatch, four)
    file = tmp_path / "step.bin"
    words = ("digits", "--global-batch", "64", "--save", str(file))
    assert verb.compile_preset(LARS, *asked(*words)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("v5e:2x2: 4 devices") for line in lines)
    assert any(line.startswith("1 micro-batch of 64 examples") for line in lines)
    assert any("all-reduce of f32" in line for line in lines)
    assert any("warning" in line and "float32" in line for line in lines)
    serialize_executable.deserialize_and_load(*pickle.loads(file.read_bytes()))
    assert lines[-1] == f"{file.stat().st_size / 1e6:,.1f} MB in {file}"
    # Digits lie on the device: 1,437 of 64 bytes and a label.
    arguments = next(line for line in lines if line.startswith("memory"))
    found = float(arguments.split("arguments ")[1].split(" MB")[0])
    assert found > 1437 * (64 + 4) / 1e6


def test_batch_that_cannot_be_shared_out_is_refused(monkeypatch, four):
    inside(monkeypatch, four)
    with pytest.raises(InputError, match="global_batch must be a multiple"):
        verb.compile_preset(LARS, *asked("digits", "--global-batch", "66"))


def test_what_the_compiler_refuses_is_one_line(monkeypatch, four):
    def refuse(config, mesh, memory):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 20.1G of 15.7G\nmore")

    inside(monkeypatch, four)
    experiment = replace(LARS, compile=refuse)
    with pytest.raises(InputError, match=r"says RESOURCE_EXHAUSTED: 20.1G of 15.7G: "):
        verb.compile_preset(experiment, *asked("digits"))


def test_compiler_that_crashes_is_named(monkeypatch):
    def crash(command, *, env, check):
        assert command[1:] == ["-m", "experiments.lars", "compile", "digits"]
        assert env["JAX_PLATFORMS"] == "cpu"
        assert env[verb.INNER] == "1"
        return subprocess.CompletedProcess(command, -11)

    monkeypatch.delenv(verb.INNER, raising=False)
    monkeypatch.setattr(subprocess, "run", crash)
    with pytest.raises(InputError, match=r"v5e:2x2 must end by itself.*SIGSEGV"):
        verb.compile_preset(LARS, *asked("digits"))


@pytest.mark.parametrize(
    "words",
    [
        ["--topology", "v5e"],
        ["--slices", "0"],
        ["--topology", "v5e:2x2", "--global-batch", "0"],
        ["nowhere"],
    ],
)
def test_bad_words_are_one_line_and_status_two(words, capfd):
    assert main(LARS, ["compile", *words]) == 2
    error = capfd.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert error[0].startswith("error: ")


@pytest.mark.aot
@pytest.mark.parametrize(
    ("topology", "package", "devices"),
    [("v5e:16x16", "libtpu", 256), ("h100:8", "jax_cuda13_plugin", 8)],
)
def test_step_compiles_for_devices_that_are_not_here(topology, package, devices):
    pytest.importorskip(package, reason=f"{package} is not installed, an extra `aot-`")
    words = ["compile", "digits_1024", "--topology", topology, "--quick"]
    found = subprocess.run(
        [sys.executable, "-m", "experiments.lars", *words],
        capture_output=True,
        text=True,
        env=dict(os.environ) | {"JAX_NUM_CPU_DEVICES": "1"},
        check=True,
    )
    assert f"{topology}: {devices} devices" in found.stdout
    assert "all-reduce of f32" in found.stdout
    assert "products 0 ms" not in found.stdout
    assert "scatter in the backward pass" not in found.stdout
