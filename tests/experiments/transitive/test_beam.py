"""Mining and tracking on Beam: the same files as in a pool of processes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from experiments.transitive.beam import DIRECT, Runner, choose_runner, run_on_beam
from experiments.transitive.experiment import main
from experiments.transitive.records import passed_over, read_records
from lars_jax.errors import FileError, InputError
from lars_jax.train import Interrupt, Interrupted
from lars_jax.train.record import checksums
from tests.experiments.transitive.support import scene, texture, write_video
from tests.experiments.transitive.test_extract import both, members
from tests.experiments.transitive.test_pipeline import SMALL
from tests.experiments.transitive.test_video import UNUSABLE

ROOT = Path(__file__).parents[3]
BEAM = Runner(DIRECT)
needs_beam = pytest.mark.skipif(
    find_spec("apache_beam") is None, reason="Beam is not installed, the extra `beam`"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with good videos, and every kind that cannot be used."""
    place = tmp_path_factory.mktemp("videos")
    write_video(place / "good.avi", scene(26)[0])
    write_video(place / "b" / "good.avi", scene(26, start=(20, 70), step=(3, -2))[0])
    write_video(place / "odd.avi", [frame[:-1, :-3] for frame in scene(16)[0]])
    write_video(place / "one.avi", scene(1)[0])
    write_video(place / "huge.avi", [texture(2160, 3840, 0)] * 2)
    cut = write_video(place / "cut.avi", scene(20)[0])
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 6 // 10])
    for name, (write, _) in UNUSABLE.items():
        write(place / name)
    return place


@pytest.fixture(scope="module")
def pooled(folder, tmp_path_factory):
    """Return the directory of both stages, made without Beam."""
    place = tmp_path_factory.mktemp("pooled")
    both(folder, place)
    return place


@needs_beam
@pytest.mark.parametrize("processes", [1, 2])
def test_files_are_those_of_the_pool_bit_for_bit(folder, pooled, tmp_path, processes):
    both(folder, tmp_path, processes, runner=BEAM)
    assert checksums(tmp_path) == checksums(pooled)


@needs_beam
def test_no_file_is_fatal(folder, pooled):
    found = passed_over(read_records(pooled / "mine"))
    names = {name for names in found.values() for name in names}
    assert names == {"one.avi", *UNUSABLE} - {"gone.avi"}


@needs_beam
def test_what_is_whole_is_not_made_again(folder, pooled, tmp_path):
    both(folder, tmp_path, runner=BEAM)
    times = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("shards/*.jpegs")}
    damaged = sorted(times)[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    both(folder, tmp_path, runner=BEAM)
    assert checksums(tmp_path) == checksums(pooled)
    changed = {p for p, time in times.items() if p.stat().st_mtime_ns != time}
    assert changed == {damaged}


def run(work, jobs, tmp_path, interrupt=None, crashed=print, runner=BEAM):
    run_on_beam(
        work,
        jobs,
        tmp_path / "jobs",
        runner=runner,
        processes=2,
        interrupt=interrupt or Interrupt(),
        crashed=crashed,
        title="work",
    )


def exit_at_two(job, check):
    if job.name == "2":
        os._exit(11)
    job.write_text("done")


def say_crashed(job):
    job.write_text("crashed")


@needs_beam
def test_job_that_ends_its_process_costs_no_other(tmp_path):
    jobs = [tmp_path / str(number) for number in range(6)]
    run(exit_at_two, jobs, tmp_path, crashed=say_crashed)
    said = [job.read_text() for job in jobs]
    assert said == ["done", "done", "crashed", "done", "done", "done"]


def write_to_full_disk(job, check):
    if job == 0:
        raise FileError("a.npy", "written", OSError(28, "No space left on device"))
    sleep_long(job, check)


def divide(job, check):
    return 1 / job


def sleep_long(job, check):
    for _ in range(6000):
        check()
        time.sleep(0.01)


@needs_beam
def test_full_disk_ends_all_with_one_line(tmp_path):
    began = time.monotonic()
    with pytest.raises(InputError, match=r"^a.npy could not be written \(No space"):
        run(write_to_full_disk, range(4), tmp_path)
    assert time.monotonic() - began < 30


@needs_beam
@pytest.mark.slow
def test_signal_ends_the_processes_of_all_workers(tmp_path):
    with Interrupt() as interrupt:
        timer = threading.Timer(3.0, os.kill, [os.getpid(), signal.SIGTERM])
        timer.start()
        began = time.monotonic()
        with pytest.raises(Interrupted):
            run(sleep_long, range(6), tmp_path, interrupt)
        assert time.monotonic() - began < 30
        assert interrupt.exit_status == 143


def start(place, stage, *flags, send=None):
    """Start a pipeline, wait until a stage has a record, and send it a signal."""
    words = [sys.executable, "-m", "experiments.transitive", *SMALL]
    words += ["--clips", "12", "--run-dir", str(place), "--only", stage, *flags]
    process = subprocess.Popen(
        words, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while send and time.monotonic() < deadline:
        if list(place.glob(f"{stage}.partial/shards/*.json")):
            process.send_signal(send)
            break
        time.sleep(0.01)
    said = process.communicate()[1]
    while members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not members(process.pid), "processes outlive the pipeline"
    return process.returncode, said


@needs_beam
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_pipeline_that_a_signal_ended_goes_on_to_the_same_files(tmp_path, number):
    for name in ("direct", "pool"):
        assert start(tmp_path / name, "videos")[0] == 0
    code, said = start(tmp_path / "direct", "mine", "--runner", "direct", send=number)
    assert code == (-9 if number == signal.SIGKILL else 128 + number)
    assert "Traceback" not in said
    assert not (tmp_path / "direct" / "mine").exists()
    for name in ("direct", "pool"):
        assert start(tmp_path / name, "mine", "--runner", name)[0] == 0
    manifests = [
        json.loads((tmp_path / name / "mine" / "manifest.json").read_text())
        for name in ("direct", "pool")
    ]
    assert manifests[0] == manifests[1]


@pytest.fixture
def job_server(tmp_path):
    """Return the flags of a server of jobs, which starts workers of its own."""
    module, port = "apache_beam.runners.portability.local_job_service_main", "port"
    words = [sys.executable, "-m", module, "--port_file", str(tmp_path / port)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while not (tmp_path / port).exists():
            time.sleep(0.1)
        worker = f"{sys.executable} -m apache_beam.runners.worker.sdk_worker_main"
        yield (
            f"--job_endpoint=localhost:{(tmp_path / port).read_text()}",
            "--environment_type=beam:env:harness_subprocess_python:v1",
            f"--environment_config={worker}",
        )
        process.kill()


@needs_beam
@pytest.mark.slow
def test_workers_of_another_runner_need_nothing_but_files(
    folder, pooled, tmp_path, job_server
):
    runner = Runner("portable", job_server)
    both(folder, tmp_path / "out", runner=runner)
    assert checksums(tmp_path / "out") == checksums(pooled)
    with pytest.raises(InputError, match=r"^a.npy could not be written \(No space"):
        run(write_to_full_disk, [0], tmp_path, runner=runner)
    with pytest.raises(RuntimeError, match="ZeroDivisionError: division"):
        run(divide, [0], tmp_path, runner=runner)


BAD = {
    # name: (flags, what the line says)
    "unknown runner": (["--runner", "lightning"], "a runner must be pool, direct, "),
    "no module": (["--runner", "no.such.Runner"], "got 'no.such.Runner'"),
    "pool": (["--runner", "pool", "--runner-options=--x=1"], "options of a runner"),
    "quotation": (["--runner", "direct", "--runner-options='"], "close the quotation"),
    "no number": (
        ["--runner", "direct", "--runner-options=--direct_num_workers=x"],
        "invalid int value: 'x'",
    ),
    "unknown flag": (
        ["--runner", "direct", "--runner-options=--direct_workers=2"],
        "unknown --direct_workers",
    ),
    "help": (["--runner", "direct", "--runner-options=--help"], "must be flags"),
    "what it needs": (["--runner", "dataflow"], "Missing required option: project"),
}


@needs_beam
@pytest.mark.parametrize(("flags", "says"), BAD.values(), ids=BAD)
def test_bad_runner_is_a_line(flags, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "demo", *flags]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert says in said
    assert list(Path().iterdir()) == []


def test_without_beam_the_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    assert main(["run", "demo", "--runner", "flink"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: Beam runs the jobs of every runner but pool; it is ")
    assert said.endswith("pip install -c constraints-beam.txt -e '.[beam]'\n")
    assert said.count("\n") == 1
    assert list(Path().iterdir()) == []


def test_runner_is_the_pool_where_beam_is_not_installed(monkeypatch):
    monkeypatch.setattr("experiments.transitive.beam.find_spec", lambda name: None)
    assert choose_runner() == Runner("pool")


@needs_beam
def test_runner_is_direct_where_beam_is_installed():
    assert choose_runner() == BEAM
