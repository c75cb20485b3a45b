"""What the checks of a run's data add to its start.

    python -m benchmarks.throughput.start

A folder is looked at as on a first start, when every file is read, and as on any later
one, when what is known of a file that has not changed is not read again; beside them
stands what no check could be without: a walk through the folder that asks for the size
and the times of every file.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro

from benchmarks.common.records import write_record
from experiments.lars.experiment import LARS
from experiments.lars.presets import get_preset
from lars_jax.data import folder_source, identify
from lars_jax.data.fingerprint import UNSETTLED_SECONDS
from lars_jax.runs.data import open_data, write_data

COMMAND = "python -m benchmarks.throughput.start"


def main(files: int = 100_000, rounds: int = 5) -> None:
    """Write `records/start.json`.

    Args:
        files: small files of the folder, in ten classes.
        rounds: how often each is timed.
    """
    config = get_preset("digits").config
    rows: list[dict[str, Any]] = []

    def timed(what: str, look: Callable[[], Any]) -> None:
        for _ in range(rounds):
            started = time.perf_counter()
            look()
            seconds = time.perf_counter() - started
            rows.append({"what": what, "seconds": seconds})
            print(f"{what}: {seconds:.3f} s", flush=True)

    LARS.sources(config)  # What a run imports and reads for its data in any case.
    with tempfile.TemporaryDirectory() as place:

        def check_digits() -> None:
            found = open_data(LARS, config, None, accept=False)[1].found
            write_data(Path(place), {}, found)

        timed("digits", check_digits)
        root = Path(place) / "data"
        for number in range(files):
            file = root / "train" / f"class{number % 10}" / f"{number:07}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"\x89PNG" + number.to_bytes(4) * 128)
        time.sleep(UNSETTLED_SECONDS + 1)

        def look() -> None:
            identify(folder_source(root, "train"))

        def look_first() -> None:
            os.environ["XDG_CACHE_HOME"] = f"{place}/cache-{time.time_ns()}"
            look()

        timed("walk", lambda: walk(root))
        timed("first", look_first)
        timed("known", look)
    print(write_record("start", COMMAND, files=files, runs=rows))


def walk(root: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(
        os.stat(os.path.join(folder, name)).st_size
        for folder, _, names in os.walk(root)
        for name in names
    )


if __name__ == "__main__":
    tyro.cli(main)
