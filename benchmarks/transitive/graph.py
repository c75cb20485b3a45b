"""Time and memory of clustering, neighbours, cliques and pairs, on synthetic nodes.

    python -m benchmarks.transitive.graph --nodes 100000 1000000 --record

Nodes are unit vectors in uneven clusters of clusters: parents of about ten thousand, as
in the paper, made of things that are seen twenty times. Each size runs in a process of
its own, whose peak memory is what the system says of it. On a sample, an inverted file
and principal components are compared with exact neighbours: a clique of four needs
twelve links, so that few neighbours lost are many cliques lost.
"""

import os
import re
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.common.records import write_record
from experiments.transitive.cliques import child_clusters, find_cliques
from experiments.transitive.components import fit_components, project
from experiments.transitive.graph import appending
from experiments.transitive.neighbours import find_neighbours, recall
from experiments.transitive.pairs import KINDS, make_pairs
from experiments.transitive.parents import (
    assign_parents,
    drop_small,
    fit_centroids,
    members,
)

COMMAND = "python -m benchmarks.transitive.graph"
DIMENSIONS = 256
OF_A_PARENT = 10_000
"""Nodes of a parent on average; the paper's have 8 to 18 thousand."""
OF_A_THING = 20
"""Nodes that show the same."""
DIRECTIONS = 24
"""In which the nodes of a parent differ."""
LEAST_MEMBERS = 100
BLOCK = 50_000
STAGES = ("kmeans", "assign", "neighbours", "cliques", "pairs")


def main(
    nodes: tuple[int, ...] = (100_000,),
    sample: int = 30_000,
    probes: tuple[int, ...] = (4, 16, 64),
    components: tuple[int, ...] = (64, 128),
    features: Path | None = None,
    record: bool = False,
) -> None:
    """Measure, print, and write `records/transitive_graph.json` if asked.

    Args:
        nodes: sizes.
        sample: nodes of the comparison with exact neighbours.
        probes: cells of the inverted file that are looked into.
        components: principal components that candidates are found by.
        features: `features.npy` of a pipeline, whose neighbours alone are compared, by
            components and by all, for `records/transitive_components.json`.
        record: write the record.
    """
    if features is not None:
        losses = alone(compare, features, (), components)
        for row in losses:
            print(row)
        if record:
            count, dimensions = np.load(features, mmap_mode="r").shape
            write_record(
                "transitive_components",
                COMMAND,
                dimensions=dimensions,
                sample=count,
                losses=losses,
            )
        return
    rows, losses = [], []
    with tempfile.TemporaryDirectory() as place:
        for count in nodes:
            path = Path(place) / "features.npy"
            write_nodes(path, count, seed=0)
            rows.append(alone(measure, path))
            print(told(rows[-1]), flush=True)
        write_nodes(path := Path(place) / "sample.npy", sample, seed=1)
        for row in alone(compare, path, probes, components):
            losses.append(row)
            print(
                f"{row['what']} {row['value']}: {row['seconds']:.1f} s, recall "
                f"{row['recall']:.4f}, cliques lost {row['lost']:.2%}, new "
                f"{row['new']:.2%}",
                flush=True,
            )
    if record:
        about = {"dimensions": DIMENSIONS, "sample": sample}
        print(
            write_record("transitive_graph", COMMAND, **about, runs=rows, losses=losses)
        )


def write_nodes(path: Path, count: int, *, seed: int) -> None:
    """Write float16 unit rows [count, DIMENSIONS], a block at a time."""
    random = np.random.default_rng(seed)
    parents, things = max(1, count // OF_A_PARENT), max(1, count // OF_A_THING)
    share = random.lognormal(0.0, 0.7, parents)
    centre = random.normal(size=(parents, DIMENSIONS)).astype(np.float32)
    # Within a parent few directions matter, each less than the last, as in features.
    strength = (1 + np.arange(DIRECTIONS)) ** -0.5
    axes = random.normal(size=(parents, DIRECTIONS, DIMENSIONS)).astype(np.float32)
    parent = random.choice(parents, things, p=share / share.sum())
    middle = random.normal(size=(things, DIRECTIONS)) * strength
    with appending(path, np.float16, DIMENSIONS) as append:
        for start in range(0, count, BLOCK):
            size = min(BLOCK, count - start)
            thing = random.integers(0, things, size)
            own = 0.6 * random.normal(size=(size, DIRECTIONS)) * strength
            place = middle[thing] + own
            rows = 0.1 * random.normal(size=(size, DIMENSIONS)).astype(np.float32)
            for one in np.unique(parent[thing]):
                some = np.flatnonzero(parent[thing] == one)
                rows[some] += centre[one] + place[some].astype(np.float32) @ axes[one]
            append(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def measure(path: Path) -> dict[str, Any]:
    """Return seconds of each stage, what came of it, and the peak of memory."""
    features = np.load(path, mmap_mode="r")
    count = len(features)
    seconds = {name: 0.0 for name in STAGES}
    counts = {name: 0 for name in ("cliques", *KINDS)}
    before = peak_mebibytes()

    def timed(what: str, started: float) -> float:
        now = time.perf_counter()
        seconds[what] += now - started
        return now

    now = time.perf_counter()
    centroids = fit_centroids(features, max(1, count // OF_A_PARENT), seed=0)
    now = timed("kmeans", now)
    parent = drop_small(assign_parents(features, centroids), LEAST_MEMBERS)
    now = timed("assign", now)
    sizes = []
    with (
        appending(path.parent / "pairs.npy", np.int64, 2) as append_pairs,
        appending(path.parent / "cliques.npy", np.int32, 4) as append_cliques,
    ):
        for seeds in members(parent):
            neighbours = find_neighbours(features[seeds])
            now = timed("neighbours", now)
            cliques = seeds[child_clusters(neighbours)]
            append_cliques(cliques)
            now = timed("cliques", now)
            pairs = make_pairs(cliques, seeds, count)
            append_pairs(pairs.nodes)
            now = timed("pairs", now)
            sizes.append(len(seeds))
            counts["cliques"] += len(cliques)
            for number, kind in enumerate(KINDS):
                counts[kind] += int((pairs.kind == number).sum())
    return {
        "nodes": count,
        "seconds": seconds,
        "counts": counts,
        "parents": len(sizes),
        "largest_parent": max(sizes),
        "mebibytes_before": before,
        "peak_mebibytes": peak_mebibytes(),
        "load": os.getloadavg()[0],
    }


def compare(
    path: Path, probes: tuple[int, ...], components: tuple[int, ...]
) -> list[dict[str, Any]]:
    """Return what is lost against exact neighbours of all nodes, as of one parent."""
    features = np.load(path)
    started = time.perf_counter()
    exact = find_neighbours(features, exact_below=len(features)).index
    seconds = time.perf_counter() - started
    expected = find_cliques(exact)

    def row(what: str, value: int, found: np.ndarray, seconds: float) -> dict[str, Any]:
        cliques = find_cliques(found)
        kept = len(np.intersect1d(_as_one(cliques), _as_one(expected)))
        return {
            "what": what,
            "value": value,
            "seconds": seconds,
            "recall": recall(found, exact),
            "lost": 1 - kept / len(expected),
            "new": 1 - kept / len(cliques),
        }

    def ways() -> Iterator[tuple[str, int, np.ndarray | None, dict[str, Any]]]:
        for some in probes:
            yield "probes", some, None, {"exact_below": 0, "probes": some}
        for some in components:
            yield (
                "components",
                some,
                project(features, fit_components(features, some)),
                {},
            )
            # Candidates of the components, compared by the whole features.
            yield "components, compared by all", some, None, {}

    rows, projected = [row("exact", len(features), exact, seconds)], features
    for what, value, given, settings in ways():
        if given is not None:
            projected = given
        source = features if what == "probes" else projected
        whole = features if what.endswith("all") else None
        started = time.perf_counter()
        found = find_neighbours(source, compare_by=whole, **settings).index
        rows.append(row(what, value, found, time.perf_counter() - started))
    return rows


def alone(function: Any, *arguments: Any) -> Any:
    """Return what a function returns in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_mebibytes() -> float:
    """Return the most memory that this process has had, files that it maps included."""
    # What `getrusage` says includes the program that started this one.
    status = Path("/proc/self/status")
    if status.exists():
        peak = re.search(r"VmHWM:\s*(\d+)", status.read_text())
        if peak:
            return int(peak[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def told(row: dict[str, Any]) -> str:
    """Return a row of the record as lines to read."""
    rates = [
        f"  {name:<10} {seconds:8.1f} s {row['nodes'] / seconds:12,.0f} nodes/s"
        for name, seconds in row["seconds"].items()
    ]
    counts = ", ".join(f"{count:,} {name}" for name, count in row["counts"].items())
    head = (
        f"{row['nodes']:,} nodes, {row['parents']} parents of up to "
        f"{row['largest_parent']:,}, load {row['load']:.1f}"
    )
    peak = (
        f"  peak {row['peak_mebibytes']:,.0f} MiB, {row['mebibytes_before']:,.0f} MiB "
        f"before; {counts}"
    )
    return "\n".join([head, *rates, peak])


def _as_one(rows: np.ndarray) -> np.ndarray:
    """Return each row as a single value that can be compared."""
    rows = np.ascontiguousarray(rows)
    return rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()


if __name__ == "__main__":
    tyro.cli(main)
