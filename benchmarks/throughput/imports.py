"""What `import lars_jax` costs over `import jax, optax`.

    python -m benchmarks.throughput.imports

Fresh processes in turn, A B A B; the ratio is taken pair by pair.
"""

import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import tyro

from benchmarks.common.records import mean_sd, write_record


@dataclass(frozen=True)
class ImportTime:
    """Pairs of imports."""

    rounds: int = 11
    """Pairs counted, after one that is not."""


def seconds(statement: str) -> float:
    """Return the time of a fresh process that runs one statement."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - started


def main(asked: ImportTime) -> None:
    """Time the pairs and write `records/import_time.json`."""
    pairs = [
        (seconds("import lars_jax"), seconds("import jax, optax"))
        for _ in range(asked.rounds + 1)
    ][1:]
    ratios = [ours / theirs for ours, theirs in pairs]
    mean, sd = mean_sd(ratios)
    median = statistics.median(ratios)
    print(f"import ratio: median {median:.3f}, mean {mean:.3f}, sd {sd:.3f}")
    command = "python -m benchmarks.throughput.imports"
    print(write_record("import_time", command, ratios=ratios, seconds=pairs))


if __name__ == "__main__":
    main(tyro.cli(ImportTime))
