"""Find the other processes of a run: in Slurm, Open MPI, on TPUs, or as told.

What the environment says of a cluster is read here, and only to decide whether there is
one and to complain where it says too little; how addresses are made of it is JAX's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from lars_jax.errors import InputError

Method = Literal["auto", "none", "slurm", "ompi", "tpu"]

# Flag, and where the environment may have the same. An Indexed Job of Kubernetes
# numbers its pods; Slurm and Open MPI are asked here for what JAX finds no address for.
_COORDINATOR = ("JAX_COORDINATOR_ADDRESS",)
_COUNT = ("JAX_NUM_PROCESSES", "OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS")
_INDEX = (
    "JAX_PROCESS_ID",
    "JOB_COMPLETION_INDEX",
    "OMPI_COMM_WORLD_RANK",
    "SLURM_PROCID",
)
_SLURM_STEP = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID")


@dataclass(frozen=True)
class Cluster:
    """How the processes of a run find one another.

    Attributes:
        method: `explicit` where the other attributes say it all, else what JAX is to
            ask for them.
        coordinator: host and port of process 0.
        num_processes: number of processes.
        process_id: place of this one among them, from 0.
    """

    method: Literal["explicit", "slurm", "ompi", "tpu"]
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


def find_cluster(
    environment: Mapping[str, str],
    *,
    method: Method = "auto",
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> Cluster | None:
    """Return the cluster that this process is one of, or None if it is alone.

    Args:
        environment: environment variables.
        method: where to look; `auto` looks everywhere, `none` nowhere.
        coordinator: `HOST:PORT` of process 0, in place of the environment.
        num_processes: number of processes, in place of the environment.
        process_id: place of this one among them, in place of the environment.

    Raises:
        InputError: something is known of other processes, but not enough to join them.

    >>> find_cluster({"SLURM_NTASKS": "1"}) is None
    True
    >>> found = find_cluster(
    ...     {"JOB_COMPLETION_INDEX": "3"}, coordinator="host-0:1234", num_processes=4
    ... )
    >>> found.process_id
    3
    """
    if method not in get_args(Method):
        raise InputError(
            f"processes must be one of {', '.join(get_args(Method))}; got {method}: "
            "mend --processes"
        )
    told = (coordinator, num_processes, process_id) != (None, None, None)
    if method == "none":
        if told:
            raise InputError(
                "a process alone has no coordinator; got --processes none with an "
                "address, a number or a place: leave one or the other out"
            )
        return None
    if told or (method == "auto" and "JAX_COORDINATOR_ADDRESS" in environment):
        return _explicit(environment, coordinator, num_processes, process_id)
    if method == "tpu" or (method == "auto" and _several_tpu_hosts(environment)):
        return Cluster("tpu")
    _require_launcher(environment, method)
    if method == "slurm":
        return _slurm(environment)
    if method == "ompi":
        return _open_mpi(environment)
    return _slurm(environment) or _open_mpi(environment)


def _explicit(
    environment: Mapping[str, str],
    coordinator: str | None,
    count: int | None,
    index: int | None,
) -> Cluster | None:
    coordinator = coordinator or _first(environment, _COORDINATOR)
    count = _number(environment, _COUNT) if count is None else count
    index = _number(environment, _INDEX) if index is None else index
    if coordinator is None or count is None or index is None:
        parts = {
            "--coordinator (or JAX_COORDINATOR_ADDRESS)": coordinator,
            "--num-processes (or JAX_NUM_PROCESSES)": count,
            "--process-id (or JAX_PROCESS_ID)": index,
        }
        missing = [name for name, value in parts.items() if value is None]
        raise InputError(
            "processes find one another by an address, their number and the place of "
            f"each; not given: {', '.join(missing)}: give all three, or none to run "
            "alone"
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit():
        raise InputError(
            f"coordinator must be HOST:PORT; got {coordinator}: mend --coordinator"
        )
    if not 0 <= index < count:
        raise InputError(
            f"process_id must be from 0 to below num_processes; got {index} of {count}"
            ": mend --process-id"
        )
    return Cluster("explicit", coordinator, count, index) if count > 1 else None


def _require_launcher(environment: Mapping[str, str], method: Method) -> None:
    needed = {"slurm": "SLURM_JOB_ID", "ompi": "OMPI_COMM_WORLD_SIZE"}.get(method)
    if needed is not None and needed not in environment:
        raise InputError(
            f"--processes {method} needs a process that {method} has started; there is "
            f"no {needed}: start it so, or leave --processes out"
        )


def _slurm(environment: Mapping[str, str]) -> Cluster | None:
    if (_number(environment, ("SLURM_NTASKS",)) or 1) < 2:
        return None
    # A script within an allocation is no task of it: only what srun starts is.
    return Cluster("slurm") if all(map(environment.get, _SLURM_STEP)) else None


def _open_mpi(environment: Mapping[str, str]) -> Cluster | None:
    count = _number(environment, ("OMPI_COMM_WORLD_SIZE",)) or 1
    if count < 2:
        return None
    if "OMPI_MCA_orte_hnp_uri" not in environment:
        raise InputError(
            "Open MPI 5 does not say where its first process is; got "
            f"{count} processes: add --coordinator HOST:PORT, the host of rank 0 and a "
            "free port"
        )
    return Cluster("ompi")


def _several_tpu_hosts(environment: Mapping[str, str]) -> bool:
    return "," in environment.get("TPU_WORKER_HOSTNAMES", "")


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((environment[name] for name in names if environment.get(name)), None)


def _number(environment: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    found = next((name for name in names if environment.get(name)), None)
    if found is None:
        return None
    try:
        return int(environment[found])
    except ValueError:
        raise InputError(
            f"{found} must be a whole number; got {environment[found]}: mend or unset "
            "it"
        ) from None
