"""One of the processes that `benchmarks.mesh_errors` starts.

python -m benchmarks.mesh_processes HOST:PORT COUNT REFERENCES ROWS INDEX
"""

import json
import pickle
import sys
from pathlib import Path

from benchmarks.mesh_errors import cases, measured
from lars_jax.train.cluster import find_cluster
from lars_jax.train.processes import join


def main(address: str, count: int, references: Path, rows: Path, index: int) -> None:
    """Take every case together with the other processes; the first writes the rows."""
    processes = join(
        find_cluster({}, coordinator=address, num_processes=count, process_id=index)
    )
    known = pickle.loads(references.read_bytes())
    found = list(measured(cases((count,), count), known))
    if processes.writes:
        rows.write_text(json.dumps(found))
    processes.leave(0, agreed=True)


if __name__ == "__main__":
    address, count, references, rows, index = sys.argv[1:]
    main(address, int(count), Path(references), Path(rows), int(index))
