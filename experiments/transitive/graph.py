"""From features and parents to the files of the graph, one parent at a time.

cliques.npy        int32 [C, size]   the seeds of each child cluster
pairs.npy          int64 [P, 2]      nodes that are to be close
kinds.npy          uint8 [P]         INTER, INTRA or TRANSITIVE
node_parents.npy   int32 [nodes]     the parent of each node, -1 for none
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from experiments.transitive.cliques import child_clusters
from experiments.transitive.config import ClusterConfig
from experiments.transitive.neighbours import find_neighbours
from experiments.transitive.pairs import KINDS, make_pairs
from experiments.transitive.parents import members
from lars_jax.errors import InputError
from lars_jax.files import replacing

COUNTED = ("parents", "seeds", "cliques", "clustered")
"""What is counted beside pairs; `clustered` are the seeds in child clusters."""

Append = Callable[[np.ndarray], None]
"""Adds rows to an array in a file."""


def write_graph(
    directory: Path,
    features: np.ndarray,
    parent: np.ndarray,
    *,
    group: np.ndarray | None,
    config: ClusterConfig,
    seed: int = 0,
    compare_by: np.ndarray | None = None,
    watch: Callable[[list[np.ndarray]], Iterable[np.ndarray]] = iter,
) -> dict[str, int]:
    """Write child clusters and pairs, and return how many there are of each.

    Node s is seed s of S, node S + s the end of its track, which is in the parent of
    its seed. Beyond its arguments it needs the memory of a single parent.

    Args:
        directory: that exists.
        features: floating [S, D] of the seeds, in memory or a memory map.
        parent: int [S], of each seed, numbered from 0 on, -1 for none.
        group: int [S], such as the video of each seed: within it are no neighbours.
        config: of neighbours and cliques.
        seed: of inverted files.
        compare_by: floating [S, E], as in `find_neighbours`.
        watch: is given the seeds of each parent in turn and hands them on, such as to
            show progress, or to end on a signal.

    Returns:
        Counts by the names of COUNTED and KINDS; `seeds` are those in parents.

    Raises:
        InputError: none of a kind, with the rule that took them.
    """
    if len(parent) != len(features):
        raise InputError(
            f"parents must be those of all {len(features)} seeds; got {len(parent)}: "
            "make them from the same features"
        )
    counts = {name: 0 for name in (*COUNTED, *KINDS)}
    names = ("cliques", "pairs", "kinds")
    shapes = ((np.int32, config.clique), (np.int64, 2), (np.uint8, None))
    with contextlib.ExitStack() as files:
        write_cliques, *write_pairs = (
            files.enter_context(appending(directory / f"{name}.npy", *shape))
            for name, shape in zip(names, shapes, strict=True)
        )
        for seeds in watch(members(parent)):
            cliques = _cliques(
                seeds, features, group, config=config, seed=seed, compare_by=compare_by
            )
            write_cliques(cliques)
            pairs = make_pairs(cliques, seeds, len(features))
            for append, rows in zip(write_pairs, pairs, strict=True):
                append(rows)
            for number, kind in enumerate(KINDS):
                counts[kind] += int((pairs.kind == number).sum())
            counts["parents"] += 1
            counts["seeds"] += len(seeds)
            counts["cliques"] += len(cliques)
            counts["clustered"] += len(np.unique(cliques))
        _require_some(counts, config)
    with replacing(directory / "node_parents.npy") as temporary:
        np.save(temporary, np.tile(parent, 2).astype(np.int32))
    return counts


@contextlib.contextmanager
def appending(path: Path, dtype: Any, columns: int | None = None) -> Iterator[Append]:
    """Yield a function that adds rows to an array in a `.npy` file.

    The file is there when the block ends, and not if it fails.

    Args:
        path: of the file.
        dtype: of the array.
        columns: of a row; None: an array of one dimension.

    Raises:
        FileError: the system refuses to have it written.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "numbers.npy"
    >>> with appending(path, np.uint8, 2) as append:
    ...     append(np.array([[1, 2]]))
    ...     append(np.array([[3, 4], [5, 6]]))
    >>> np.load(path).tolist()
    [[1, 2], [3, 4], [5, 6]]
    """
    row = () if columns is None else (columns,)
    count = 0
    with replacing(path) as temporary, temporary.open("wb") as file:
        # NumPy leaves room in a header for the first axis to grow.
        start = _write_header(file, dtype, (0, *row))

        def append(rows: np.ndarray) -> None:
            nonlocal count
            rows = np.ascontiguousarray(rows, dtype).reshape(-1, *row)
            file.write(rows.data)
            count += len(rows)

        yield append
        file.seek(0)
        assert _write_header(file, dtype, (count, *row)) == start


def _write_header(file: Any, dtype: Any, shape: tuple[int, ...]) -> int:
    described = npy.dtype_to_descr(np.dtype(dtype))
    about = {"descr": described, "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(file, about)
    return file.tell()


def _cliques(
    seeds: np.ndarray,
    features: np.ndarray,
    group: np.ndarray | None,
    *,
    config: ClusterConfig,
    seed: int,
    compare_by: np.ndarray | None,
) -> np.ndarray:
    """Return the child clusters of a parent, in the numbers of all seeds."""
    found = find_neighbours(
        features[seeds],
        config.neighbours,
        None if group is None else group[seeds],
        exact_below=config.exact_below,
        probes=config.probes,
        compare_by=None if compare_by is None else compare_by[seeds],
        seed=seed,
    )
    return seeds[child_clusters(found, config.clique, config.overlap)]


def _require_some(counts: dict[str, int], config: ClusterConfig) -> None:
    if not counts["parents"]:
        raise InputError(
            f"a parent must have {config.least_members} members; none of "
            f"{config.parents} has: set --least-members or --parents lower"
        )
    if not counts["cliques"]:
        raise InputError(
            f"a child cluster is {config.clique} seeds of a parent, each among the "
            f"{config.neighbours} nearest of all others, none of the same "
            f"{config.apart}; got none among {counts['seeds']} seeds: set --neighbours "
            "higher or --clique lower, or mine more video"
        )
