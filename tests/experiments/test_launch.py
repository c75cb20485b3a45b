"""The scripts that start a run on several machines.

None of these machines is here. What can be held to is that the scripts parse, that they
call the command line by flags that it has, that manifests have the fields of their
kinds, and that a run is started again when its exit status asks for it.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.lars.presets import PRESETS

LAUNCH = Path(__file__).parents[2] / "experiments" / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
STARTERS = [path for path in SCRIPTS if path.name != "restart.sh"]
MANIFESTS = sorted(LAUNCH.glob("*.yaml"))
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
TRAIN = "experiments.lars train"

# What of batch/v1 Job, v1 Pod and v1 Service may stand in our manifests:
# https://kubernetes.io/docs/reference/kubernetes-api/
JOB_FIELDS = {
    "completions",
    "parallelism",
    "completionMode",
    "backoffLimit",
    "podFailurePolicy",
    "template",
}
POD_FIELDS = {
    "subdomain",
    "restartPolicy",
    "terminationGracePeriodSeconds",
    "nodeSelector",
    "containers",
    "volumes",
}
# jobset.x-k8s.io/v1alpha2:
# https://github.com/kubernetes-sigs/jobset api/jobset/v1alpha2/jobset_types.go
JOBSET_FIELDS = {"network", "failurePolicy", "replicatedJobs"}
JOBSET_ACTIONS = {"FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"}


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def jobs(path: Path) -> list[dict[str, Any]]:
    """Return the specification of every Job of a manifest."""
    found = []
    for document in documents(path):
        if document["kind"] == "Job":
            found.append(document["spec"])
        if document["kind"] == "JobSet":
            replicated = document["spec"]["replicatedJobs"]
            found += [job["template"]["spec"] for job in replicated]
    return found


def pods(path: Path) -> list[dict[str, Any]]:
    return [job["template"]["spec"] for job in jobs(path)]


def commands(path: Path) -> list[str]:
    """Return every call of `train` in a script or manifest, from its preset on."""
    if path.suffix == ".yaml":
        containers = [one for pod in pods(path) for one in pod["containers"]]
        calls = [" ".join([*one["command"], *one["args"]]) for one in containers]
    else:
        joined = path.read_text().replace("\\\n", " ")
        calls = [line for line in joined.splitlines() if line.strip()[:1] != "#"]
    return [call.split(TRAIN, 1)[1] for call in calls if TRAIN in call]


@pytest.fixture(scope="module")
def known_flags() -> set[str]:
    """Return every flag that the help of `train` lists."""
    env = os.environ | {"COLUMNS": "200"}
    found = subprocess.run(
        [sys.executable, "-m", "experiments.lars", "train", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=env,
    )
    return set(FLAG.findall(found.stdout))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse(path: Path):
    subprocess.run(["bash", "-n", path], check=True)


@pytest.mark.parametrize("path", [*STARTERS, *MANIFESTS], ids=lambda path: path.name)
def test_every_flag_is_one_of_the_command_line(path: Path, known_flags: set[str]):
    (command,) = commands(path)
    flags = set(FLAG.findall(command))
    assert "--resume-if-any" in flags
    assert flags <= known_flags, f"unknown: {sorted(flags - known_flags)}"


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_name_a_preset_and_a_run_directory(path: Path):
    (command,) = commands(path)
    preset, *rest = command.split()
    assert preset in PRESETS
    assert rest[rest.index("--run-dir") + 1].startswith("/shared/")


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_jobs_have_the_fields_of_their_kind(path: Path):
    for job in jobs(path):
        assert job.keys() <= JOB_FIELDS
        assert job["completionMode"] == "Indexed"
        assert job["completions"] == job["parallelism"]
        pod = job["template"]["spec"]
        assert pod.keys() <= POD_FIELDS
        # Policies for exit statuses are refused with any other restart policy.
        assert pod["restartPolicy"] == "Never"
        names = {container["name"] for container in pod["containers"]}
        for rule in job["podFailurePolicy"]["rules"]:
            assert rule["action"] in {"FailJob", "Ignore", "Count"}
            assert ("onExitCodes" in rule) != ("onPodConditions" in rule)
            if on_exit := rule.get("onExitCodes"):
                assert on_exit["containerName"] in names
                assert on_exit["values"] == sorted(set(on_exit["values"]))
                assert 0 not in on_exit["values"]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_volumes_are_mounted_and_mounts_have_volumes(path: Path):
    for pod in pods(path):
        volumes = {volume["name"] for volume in pod["volumes"]}
        mounts = {m["name"] for one in pod["containers"] for m in one["volumeMounts"]}
        assert volumes == mounts


def test_job_set_has_the_fields_of_its_kind():
    (jobset,) = documents(LAUNCH / "gke.yaml")
    assert jobset["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
    assert jobset["spec"].keys() <= JOBSET_FIELDS
    for rule in jobset["spec"]["failurePolicy"]["rules"]:
        assert rule["action"] in JOBSET_ACTIONS
        assert re.fullmatch("[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", rule["name"])


def test_pods_of_the_slice_hold_all_of_its_chips():
    (job,) = jobs(LAUNCH / "gke.yaml")
    pod = job["template"]["spec"]
    shape = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
    rows, columns = map(int, shape.split("x"))
    chips = pod["containers"][0]["resources"]["limits"]["google.com/tpu"]
    assert job["completions"] * chips == rows * columns


def test_pods_of_the_job_find_the_first_of_them():
    service, job = documents(LAUNCH / "gke_gpu.yaml")
    name, spec = job["metadata"]["name"], job["spec"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": name}
    assert spec["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    (command,) = commands(LAUNCH / "gke_gpu.yaml")
    words = command.split()
    host, _ = words[words.index("--coordinator") + 1].split(":")
    assert host == f"{name}-0.{service['metadata']['name']}"
    assert words[words.index("--num-processes") + 1] == str(spec["completions"])


def restart(command: str, **env: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [LAUNCH / "restart.sh", "bash", "-c", command],
        env=os.environ | env,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    ("statuses", "final"),
    [
        ((0,), 0),
        ((2,), 2),
        ((143,), 143),
        ((75, 0), 0),
        ((75, 137, 3), 3),
        ((75, 75, 75), 75),
    ],
    ids=str,
)
def test_restarts_follow_the_exit_status(tmp_path, statuses, final):
    # The command takes the next line of a file for its exit status each time.
    (tmp_path / "left").write_text("".join(f"{status}\n" for status in statuses))
    command = (
        f"cd {tmp_path}; read -r status <left; sed -i 1d left; echo >>ran; exit $status"
    )
    started = restart(command, RESTARTS="2")
    assert started.wait(timeout=20) == final
    assert (tmp_path / "ran").read_text().count("\n") == len(statuses)
    assert (tmp_path / "left").read_text() == ""


def test_a_signal_waits_for_the_command_and_starts_nothing_again(tmp_path):
    command = (
        f"cd {tmp_path}; echo >>ran; trap 'sleep 0.3; echo >saved; exit 75' TERM; "
        "echo >ready; while :; do sleep 0.05; done"
    )
    started = restart(command)
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    started.send_signal(signal.SIGTERM)
    assert started.wait(timeout=20) == 75
    assert (tmp_path / "saved").exists()
    assert (tmp_path / "ran").read_text().count("\n") == 1


def put(path: Path, program: str) -> None:
    """Write a program in the place of one that is not here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{program}\n")
    path.chmod(0o755)


def run(script: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", LAUNCH / script, *arguments],
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_local_processes_share_a_coordinator_and_start_again_together(tmp_path):
    # Process 1 is lost once; then all are done.
    put(
        tmp_path / "python",
        'if [[ $1 == -c ]]; then echo 5000; exit; fi; cd "$(dirname "$0")"; '
        'echo "$@" >>calls; [[ ${*: -1} == 1 && ! -e lost ]] && touch lost && exit 137;'
        "while [[ ! -e lost ]]; do sleep 0.02; done; "
        "[[ $(wc -l <calls) -gt 3 ]] && exit 0; exit 75",
    )
    found = run(
        "local.sh", "3", "digits", "--run-dir", "r", PYTHON=str(tmp_path / "python")
    )
    assert found.returncode == 0, found.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    expected = (
        "-m experiments.lars train digits --run-dir r --resume-if-any "
        "--coordinator 127.0.0.1:5000 --num-processes 3 --process-id "
    )
    assert sorted(calls) == sorted(2 * [f"{expected}{id_}" for id_ in range(3)])


def test_workers_get_the_arguments_as_they_were_given(tmp_path):
    # What gcloud is given is one word, --command=...; a worker runs what follows.
    put(tmp_path / "bin" / "gcloud", 'last=${*: -1}; bash -c "${last#--command=}"')
    put(tmp_path / "bin" / "python", 'printf "%s\n" "$@"')
    put(tmp_path / "my checkout" / ".venv" / "bin" / "activate", "")
    put(
        tmp_path / "my checkout" / "experiments" / "launch" / "restart.sh",
        'echo "restarts $RESTARTS"; "$@"',
    )
    found = run(
        "tpu_pod.sh",
        *("digits", "--dataset", "folder:/a b/$c", "--run-dir", "r"),
        PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        CHECKOUT=str(tmp_path / "my checkout"),
        TPU_NAME="name",
        ZONE="zone",
    )
    assert found.returncode == 0, found.stderr
    start = ["restarts 10", "-m", "experiments.lars", "train", "digits"]
    asked = ["--dataset", "folder:/a b/$c", "--run-dir", "r"]
    added = ["--processes", "tpu", "--resume-if-any"]
    assert found.stdout.splitlines() == start + asked + added


@pytest.mark.parametrize(
    ("status", "requeued"),
    [(0, False), (2, False), (3, False), (75, True), (137, True), (143, True)],
)
def test_slurm_job_comes_back_when_its_status_asks_for_it(tmp_path, status, requeued):
    put(tmp_path / "bin" / "srun", f'echo "srun $*"; exit {status}')
    put(tmp_path / "bin" / "scontrol", 'echo "scontrol $*"')
    put(tmp_path / ".venv" / "bin" / "activate", "")
    found = run(
        "slurm.sbatch",
        *("digits", "--run-dir", "r"),
        PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        SLURM_SUBMIT_DIR=str(tmp_path),
        SLURM_JOB_ID="17",
    )
    assert found.returncode == status
    assert "train digits --run-dir r --resume-if-any" in found.stdout
    assert ("scontrol requeue 17" in found.stdout) is requeued


@pytest.mark.parametrize(("per_node", "ids"), [("1", "0,1,2,3"), ("4", "")])
def test_a_process_alone_on_its_node_asks_for_all_gpus(tmp_path, per_node, ids):
    put(tmp_path / "bin" / "srun", 'echo "ids $JAX_LOCAL_DEVICE_IDS"')
    put(tmp_path / ".venv" / "bin" / "activate", "")
    found = run(
        "slurm.sbatch",
        *("digits", "--run-dir", "r"),
        PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        SLURM_SUBMIT_DIR=str(tmp_path),
        SLURM_NTASKS_PER_NODE=per_node,
        SLURM_GPUS_ON_NODE="4",
    )
    assert found.stdout == f"ids {ids}\n"


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("local.sh", ["2", "digits"]),
        ("tpu_pod.sh", ["digits"]),
        ("slurm.sbatch", ["digits"]),
    ],
)
def test_a_run_without_a_directory_is_refused(script, arguments):
    # Processes that each chose a dated directory could choose different ones.
    found = run(script, *arguments, TPU_NAME="name", ZONE="zone")
    assert found.returncode == 2
    assert "--run-dir" in found.stderr
