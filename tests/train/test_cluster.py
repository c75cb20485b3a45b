"""Other processes are found where the environment tells of them, and only there."""

import pytest

from lars_jax import InputError
from lars_jax.train.cluster import find_cluster

SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NODELIST": "node[1-4]",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911",
}


def launcher(name):
    return {"cluster_detection_method": name}


def told(address, count, place):
    return launcher("deactivate") | {
        "coordinator_address": address,
        "num_processes": count,
        "process_id": place,
    }


def without(environment, name):
    return {key: value for key, value in environment.items() if key != name}


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, None),
        (SLURM, launcher("slurm")),
        (SLURM | {"SLURM_NTASKS": "1"}, None),
        (without(SLURM, "SLURM_STEP_NODELIST"), None),
        (OPEN_MPI, launcher("ompi")),
        (OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": "1"}, None),
        ({"TPU_WORKER_HOSTNAMES": "t-0,t-1"}, {}),
        ({"TPU_WORKER_HOSTNAMES": "t-0"}, None),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, None),
        (
            {
                "JAX_COORDINATOR_ADDRESS": "host-0:99",
                "JAX_NUM_PROCESSES": "8",
                "JOB_COMPLETION_INDEX": "5",
            },
            told("host-0:99", 8, 5),
        ),
    ],
    ids=[
        "alone",
        "slurm",
        "slurm, one task",
        "slurm, outside srun",
        "open mpi",
        "open mpi, one rank",
        "tpu slice",
        "tpu, one host",
        "kubernetes, one pod",
        "kubernetes, indexed job",
    ],
)
def test_cluster_of_an_environment(environment, found):
    assert find_cluster(environment) == found


def test_flags_come_before_the_environment():
    found = find_cluster(SLURM, coordinator="h:1", num_processes=2, process_id=1)
    assert found == told("h:1", 2, 1)


def test_flags_are_completed_from_the_environment():
    environment = without(OPEN_MPI, "OMPI_MCA_orte_hnp_uri")
    found = find_cluster(environment, coordinator="[fe80::1]:12")
    assert found == told("[fe80::1]:12", 4, 1)


def test_one_process_by_flags_is_alone():
    found = find_cluster({}, coordinator="h:1", num_processes=1, process_id=0)
    assert found is None


def test_none_looks_nowhere():
    assert find_cluster(SLURM, method="none") is None


@pytest.mark.parametrize(
    ("environment", "options", "words"),
    [
        ({}, {"coordinator": "h:1"}, "not given: --num-processes, --process-id"),
        ({}, {"num_processes": 2, "process_id": 0}, "not given: --coordinator"),
        (
            {},
            {"coordinator": "h:1", "num_processes": 2, "process_id": 2},
            "got 2 of 2",
        ),
        (
            {},
            {"coordinator": "host", "num_processes": 2, "process_id": 0},
            "HOST:PORT; got host",
        ),
        ({}, {"method": "slurm"}, "no SLURM_JOB_ID"),
        ({}, {"method": "ompi"}, "no OMPI_COMM_WORLD_SIZE"),
        (SLURM, {"method": "none", "process_id": 1}, "leave one or the other out"),
        (SLURM | {"SLURM_NTASKS": "four"}, {}, "SLURM_NTASKS must be .* got four"),
        (without(OPEN_MPI, "OMPI_MCA_orte_hnp_uri"), {}, "add --coordinator HOST"),
    ],
)
def test_half_a_cluster_is_refused(environment, options, words):
    with pytest.raises(InputError, match=words):
        find_cluster(environment, **options)
