"""What a comparison found: every cell over its seeds, and each optimizer against one.

Runs of one seed and batch share the order of their examples and the weights that they
begin with, so that what sets two optimizers apart is told by the difference of each
pair, whose spread is not that of the seeds.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.lars.config import Grid
from lars_jax.report import accuracy_by_batch_figure, half_interval, rate_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Runs = Iterable[Mapping[str, Any]]


def diverged(run: Mapping[str, Any]) -> bool:
    """Return whether a run became NaN or infinite; old rows have an infinite loss.

    >>> diverged({"diverged": True}), diverged({"loss": 0.5}), diverged({})
    (True, False, False)
    """
    return run.get("diverged", run.get("loss") == math.inf)


def score(run: Mapping[str, Any]) -> tuple[float, float]:
    """Return by what the best of tuned runs is found: of equals the lower loss wins.

    >>> score({"accuracy": 0.5, "loss": 2.0}), score({"accuracy": 0.0, "loss": None})
    ((0.5, -2.0), (0.0, -inf))
    """
    loss = run.get("loss")  # The oldest rows have none.
    return run["accuracy"], -math.inf if loss is None else -loss


def summarise(runs: Runs, grid: Grid) -> list[dict[str, Any]]:
    """Return mean and deviation of every cell that was tested, in the grid's order.

    Args:
        runs: rows of `results.jsonl`.
        grid: that they are of.
    """
    return [summarise_cell(own) for own in _tested(runs, grid).values() if own]


def summarise_cell(tested: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean and deviation of the runs of one cell that did not diverge.

    Returns:
        `optimizer`, `global_batch` and `rate`; `mean`, NaN of no run, `sd` and `n`; and
        how many `diverged`.

    >>> run = {"optimizer": "sgd", "global_batch": 64, "rate": 1.0, "accuracy": 0.75}
    >>> found = summarise_cell([run, {**run, "accuracy": 0.0, "diverged": True}])
    >>> found["mean"], found["n"], found["diverged"]
    (0.75, 1, 1)
    """
    accuracies = [run["accuracy"] for run in tested if not diverged(run)]
    return {name: tested[0][name] for name in ("optimizer", "global_batch", "rate")} | {
        "mean": float(np.mean(accuracies)) if accuracies else math.nan,
        "sd": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0,
        "n": len(accuracies),
        "diverged": len(tested) - len(accuracies),
    }


def differences(runs: Runs, grid: Grid, base: str) -> list[dict[str, Any]]:
    """Return by how much each optimizer is ahead of one, seed by seed.

    The mean difference d of n pairs, and t_{n-1} s / sqrt(n) with the deviation s of
    the differences.

    Args:
        runs: rows of `results.jsonl`.
        grid: that they are of.
        base: the optimizer that others are held against.

    Returns:
        A row for each batch and other optimizer with seeds in common: `mean` and `half`
        of the 95 % interval, infinite for one pair, as shares of 1, and `n`; how many
        pairs `diverged`, and so are no part of these.

    >>> run = {"phase": "test", "optimizer": "sgd", "global_batch": 64, "seed": 0}
    >>> runs = [{**run, "accuracy": 0.75}, {**run, "optimizer": "lars", "accuracy": 1}]
    >>> differences(runs, Grid(("lars", "sgd"), (64,)), "lars")[0]["mean"]
    -0.25
    """
    cells = {
        cell: {run["seed"]: None if diverged(run) else run["accuracy"] for run in own}
        for cell, own in _tested(runs, grid).items()
    }
    found = []
    for batch in grid.batches:
        known = cells.get((base, batch), {})
        for name in grid.optimizers:
            own = cells[name, batch]
            common = [(own[seed], known[seed]) for seed in sorted(own.keys() & known)]
            pairs = [a - b for a, b in common if a is not None and b is not None]
            if name != base and common:
                found.append(
                    {
                        "optimizer": name,
                        "global_batch": batch,
                        "mean": float(np.mean(pairs)) if pairs else math.nan,
                        "half": half_interval(pairs),
                        "n": len(pairs),
                        "diverged": len(common) - len(pairs),
                    }
                )
    return found


def markdown(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the table of a comparison.

    >>> print(markdown([{"optimizer": "lars", "global_batch": 256, "rate": 4.0,
    ...     "mean": 0.99, "sd": 0.001, "n": 3}]))
    | optimizer | global batch | learning rate | accuracy % (mean) | sd | n |
    |---|---|---|---|---|---|
    | lars | 256 | 4 | 99.00 | 0.10 | 3 |
    <BLANKLINE>
    """
    lines = [
        "| optimizer | global batch | learning rate | accuracy % (mean) | sd | n |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        mean = f"{100 * row['mean']:.2f}" if row["n"] else ""
        # One seed has no deviation.
        sd = f"{100 * row['sd']:.2f}" if row["n"] > 1 else ""
        lines.append(
            f"| {row['optimizer']} | {row['global_batch']} | {row['rate']:.4g} | "
            f"{mean} | {sd} | {_count(row)} |"
        )
    return "\n".join(lines) + "\n"


def differences_markdown(rows: Iterable[Mapping[str, Any]], base: str) -> str:
    """Return the table of differences, in points of a percent.

    >>> row = {"optimizer": "sgd", "global_batch": 64, "mean": -0.01, "half": 0.02}
    >>> print(differences_markdown([{**row, "n": 3}], "lars"))
    | optimizer | global batch | points ahead of lars | 95 % interval | n |
    |---|---|---|---|---|
    | sgd | 64 | -1.00 | -3.00 to +1.00 | 3 |
    <BLANKLINE>
    """
    lines = [
        f"| optimizer | global batch | points ahead of {base} | 95 % interval | n |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        mean, half = 100 * row["mean"], 100 * row["half"]
        points = f"{mean:+.2f}" if row["n"] else ""
        # One pair has no interval.
        reach = f"{mean - half:+.2f} to {mean + half:+.2f}" if row["n"] > 1 else ""
        lines.append(
            f"| {row['optimizer']} | {row['global_batch']} | {points} | {reach} | "
            f"{_count(row)} |"
        )
    return "\n".join(lines) + "\n"


def comparison_figures(
    runs: Sequence[Mapping[str, Any]], grid: Grid
) -> "dict[str, Figure]":
    """Return by name what is drawn of a comparison.

    `accuracy` is over the batch, once a cell was tested; `rates-BATCH` of the smallest
    and the largest batch is over the learning rates that were tried there.

    Args:
        runs: rows of `results.jsonl`.
        grid: that they are of.
    """
    rows, found = summarise(runs, grid), {}
    lost = Counter[str]()
    for row in rows:
        lost[row["optimizer"]] += row["diverged"]
    drawn = [
        row | {"optimizer": f"{name} ({lost[name]} diverged)" if lost[name] else name}
        for row in rows
        if row["n"] and (name := row["optimizer"])
    ]
    if drawn:
        found["accuracy"] = accuracy_by_batch_figure(drawn)
    order = list(grid.optimizers)
    for batch in sorted({min(grid.batches), max(grid.batches)}):
        tried = [
            run
            for run in runs
            if (run["phase"], run["global_batch"]) == ("tune", batch)
            and run["optimizer"] in order
        ]
        if tried:
            tried.sort(key=lambda run: order.index(run["optimizer"]))
            found[f"rates-{batch}"] = rate_figure(tried, f"Batch {batch:,}")
    return found


def base_of(grid: Grid) -> str:
    """Return the optimizer that others are held against: LARS, or else the first."""
    return "lars" if "lars" in grid.optimizers else grid.optimizers[0]


def comparison_tables(runs: Sequence[Mapping[str, Any]], grid: Grid) -> str:
    """Return both tables of a comparison, and how far it has come if it has not ended.

    Of one optimizer there is one table alone.
    """
    base, parts = base_of(grid), [markdown(summarise(runs, grid))]
    if found := differences(runs, grid, base):
        parts.append(differences_markdown(found, base))
    if missing := unfinished(runs, grid):
        parts.append(f"{missing}.\n")
    return "\n".join(parts)


def unfinished(runs: Runs, grid: Grid) -> str:
    """Return in words how far a comparison has come, nothing once it has ended.

    >>> run = {"phase": "test", "optimizer": "sgd", "global_batch": 64, "seed": 0}
    >>> unfinished([run], Grid(("lars", "sgd"), (64,), seeds=1))
    '1 of 2 cells tested by 1 seed'
    """
    cells = _tested(runs, grid).values()
    done = sum(len(own) >= grid.seeds for own in cells)
    if done == len(cells):
        return ""
    seeds = "1 seed" if grid.seeds == 1 else f"all {grid.seeds} seeds"
    return f"{done} of {len(cells)} cells tested by {seeds}"


def _count(row: Mapping[str, Any]) -> str:
    """Return how many runs a row is of, and how many diverged and are not in it."""
    lost = row.get("diverged", 0)
    return (
        f"{row['n']}, {lost} of {row['n'] + lost} diverged" if lost else str(row["n"])
    )


def _tested(runs: Runs, grid: Grid) -> dict[tuple[str, int], list[Mapping[str, Any]]]:
    cells: dict[tuple[str, int], list[Mapping[str, Any]]] = {
        (name, batch): [] for name in grid.optimizers for batch in grid.batches
    }
    for run in runs:
        own = cells.get((run["optimizer"], run["global_batch"]))
        if own is not None and run["phase"] == "test":
            own.append(run)
    return cells
