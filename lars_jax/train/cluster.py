"""Find the other processes of a run: as told, or by what JAX knows of a launcher."""

from collections.abc import Mapping
from typing import Any, Literal

from lars_jax.errors import InputError

Method = Literal["auto", "none", "slurm", "ompi", "tpu"]

# A script within an allocation is no task of it: only what `srun` starts has these.
_SLURM_TASK = ("SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID")
_STARTED = {"slurm": "SLURM_JOB_ID", "ompi": "OMPI_COMM_WORLD_SIZE"}
_COUNT = ("JAX_NUM_PROCESSES", "OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS")
_PLACE = (
    *("JAX_PROCESS_ID", "JOB_COMPLETION_INDEX"),
    *("OMPI_COMM_WORLD_RANK", "SLURM_PROCID"),
)


def find_cluster(
    environment: Mapping[str, str],
    *,
    method: Method = "auto",
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> dict[str, Any] | None:
    """Return what `jax.distributed.initialize` is to be told; None: run alone.

    What it is not told, it finds by itself. Flags that are left out beside others are
    completed from the environment, so that Open MPI 5 and Indexed Jobs of Kubernetes
    need an address alone, or that and a number.

    Args:
        environment: environment variables.
        method: where to look; `auto` looks everywhere, `none` nowhere.
        coordinator: `HOST:PORT` of process 0.
        num_processes: number of processes.
        process_id: place of this one among them, from 0.

    Raises:
        InputError: something is known of other processes, but not enough to join them.

    >>> find_cluster({"SLURM_NTASKS": "1"}) is None
    True
    >>> found = find_cluster(
    ...     {"JOB_COMPLETION_INDEX": "3"}, coordinator="host-0:1234", num_processes=4
    ... )
    >>> found["process_id"]
    3
    """
    told = (coordinator, num_processes, process_id) != (None, None, None)
    if method == "none" and told:
        raise InputError(
            "a process alone has no coordinator; got --processes none with an address, "
            "a number or a place: leave one or the other out"
        )
    if told or (method == "auto" and "JAX_COORDINATOR_ADDRESS" in environment):
        return _as_told(
            coordinator or environment.get("JAX_COORDINATOR_ADDRESS"),
            _number(environment, _COUNT) if num_processes is None else num_processes,
            _number(environment, _PLACE) if process_id is None else process_id,
        )
    return None if method == "none" else _as_found(environment, method)


def _as_told(
    coordinator: str | None, count: int | None, place: int | None
) -> dict[str, Any] | None:
    if coordinator is None or count is None or place is None:
        flags = {"coordinator": coordinator, "num-processes": count}
        flags["process-id"] = place
        missing = ", ".join(f"--{name}" for name in flags if flags[name] is None)
        raise InputError(
            "processes find one another by an address, their number and the place of "
            f"each; not given: {missing}: give all three, or none to run alone"
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit():
        raise InputError(
            f"coordinator must be HOST:PORT; got {coordinator}: set --coordinator to "
            "the address of process 0"
        )
    if not 0 <= place < count:
        raise InputError(
            f"process_id must be from 0 to below num_processes; got {place} of {count}"
            ": set --process-id to the place of this process"
        )
    names = ("coordinator_address", "num_processes", "process_id")
    found = dict(zip(names, (coordinator, count, place), strict=True))
    return found | {"cluster_detection_method": "deactivate"} if count > 1 else None


def _as_found(environment: Mapping[str, str], method: Method) -> dict[str, Any] | None:
    several_hosts = "," in environment.get("TPU_WORKER_HOSTNAMES", "")
    if method == "tpu" or (method == "auto" and several_hosts):
        return {}
    started = _STARTED.get(method)
    if started is not None and started not in environment:
        raise InputError(
            f"--processes {method} needs a process that {method} has started; there is "
            f"no {started}: start it so, or leave --processes out"
        )
    tasks = _number(environment, ("SLURM_NTASKS",)) or 1
    if method != "ompi" and tasks > 1 and all(map(environment.get, _SLURM_TASK)):
        return {"cluster_detection_method": "slurm"}
    ranks = _number(environment, ("OMPI_COMM_WORLD_SIZE",)) or 1
    if method == "slurm" or ranks < 2:
        return None
    if "OMPI_MCA_orte_hnp_uri" not in environment:
        raise InputError(
            f"Open MPI 5 does not say where its first process is; got {ranks} "
            "processes: add --coordinator HOST:PORT, the host of rank 0 and a free port"
        )
    return {"cluster_detection_method": "ompi"}


def _number(environment: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    found = next((name for name in names if environment.get(name)), None)
    if found is None:
        return None
    if not environment[found].isdecimal():
        raise InputError(
            f"{found} must be a whole number; got {environment[found]}: set it to one, "
            "or unset it"
        )
    return int(environment[found])
