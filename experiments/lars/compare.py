"""Optimizers over batch sizes and seeds, each with the same budget for tuning.

For every optimizer and batch size the same number of learning rates is tried, on one
seed and on training examples held out for the purpose; the best is then trained with
every seed on all training examples and evaluated once on the test split. A rate is
traced, so a cell compiles once however many rates it tries.
"""

import contextlib
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments.lars.check import check, check_data
from experiments.lars.config import Config, replace
from experiments.lars.trainer import Trainer
from lars_jax.data import load_source
from lars_jax.errors import InputError
from lars_jax.report import accuracy_by_batch_figure
from lars_jax.train import NonFiniteError
from lars_jax.train.record import JsonLines, environment, write_json, write_text

CENTRES = {"lars": 4.0, "sgd": 0.1, "nesterov": 0.1}
"""Middle of the rates tried at a batch of 256."""


@dataclass(frozen=True)
class Grid:
    """What is compared, and how much tuning each cell may have."""

    optimizers: tuple[str, ...]
    batches: tuple[int, ...]
    seeds: int
    trials: int
    tuning_holdout: int
    rate_span: float


def compare(config: Config, grid: Grid, directory: Path) -> str:
    """Run the grid, write its rows, table and plot, and return the table.

    Args:
        config: what all cells share.
        grid: what they do not.
        directory: gets `results.jsonl` (a row a run), `config.json`, `table.md` and
            `accuracy.svg`.

    Raises:
        InputError: an empty grid, or a cell that cannot run.
    """
    _check_grid(config, grid, directory)
    directory.mkdir(parents=True, exist_ok=True)
    record = {"config": asdict(config), "grid": asdict(grid)}
    write_json(directory / "config.json", record | {"environment": environment()})
    cells = [(name, batch) for name in grid.optimizers for batch in grid.batches]
    rows = []
    with (
        contextlib.closing(JsonLines(directory / "results.jsonl")) as results,
        tqdm(total=len(cells) * (grid.trials + grid.seeds), unit="run") as progress,
    ):
        for name, batch in cells:
            cell = replace(config, optimizer=name, global_batch=batch)
            runs = []
            for run in _run_cell(cell, grid):
                results.append(run)
                runs.append(run)
                progress.update()
            rows.append(_summarise(name, batch, runs))
            tqdm.write(markdown(rows[-1:]).splitlines()[-1], file=sys.stderr)
    table = markdown(rows)
    write_text(directory / "table.md", table)
    figure = accuracy_by_batch_figure(rows)
    figure.savefig(directory / "accuracy.svg")
    return table


def learning_rates(grid: Grid, name: str, batch: int) -> list[float]:
    """Return the rates that a cell tries, evenly spaced in the logarithm.

    The middle grows with the square root of the batch for every optimizer alike.

    >>> grid = Grid(("lars",), (1024,), 1, 3, 0, 4.0)
    >>> learning_rates(grid, "lars", 1024)
    [4.0, 8.0, 16.0]
    """
    centre = CENTRES[name] * math.sqrt(batch / 256)
    if grid.trials == 1:
        return [centre]
    exponents = np.linspace(-0.5, 0.5, grid.trials)
    return [float(round(centre * grid.rate_span**e, 6)) for e in exponents]


def markdown(rows: list[dict[str, Any]]) -> str:
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
        lines.append(
            f"| {row['optimizer']} | {row['global_batch']} | {row['rate']:.4g} | "
            f"{100 * row['mean']:.2f} | {100 * row['sd']:.2f} | {row['n']} |"
        )
    return "\n".join(lines) + "\n"


def _run_cell(config: Config, grid: Grid) -> Iterator[dict[str, Any]]:
    """Yield a row for each trial and each seed of one optimizer at one batch size."""
    name, batch = config.optimizer.optimizer, config.global_batch
    tuning = Trainer.create(replace(config, holdout=grid.tuning_holdout))
    scores = {}
    for rate in learning_rates(grid, name, batch):
        scores[rate] = _accuracy(tuning, learning_rate=rate)
        yield _row(config, "tune", rate, config.seed, scores[rate])
    best = max(scores, key=lambda rate: scores[rate])
    final = Trainer.create(config)
    for seed in range(grid.seeds):
        accuracy = _accuracy(final, learning_rate=best, seed=seed)
        yield _row(config, "test", best, seed, accuracy)


def _accuracy(trainer: Trainer, **numbers: Any) -> float:
    """Train once and return the accuracy; a run that diverges scores nothing."""
    config = replace(trainer.config, **numbers)
    try:
        state, _ = trainer.fit(trainer.initial_state(config), seed=config.seed)
    except NonFiniteError:
        return 0.0
    return trainer.evaluate(state)["accuracy"]


def _row(
    config: Config, phase: str, rate: float, seed: int, accuracy: float
) -> dict[str, Any]:
    return {
        "phase": phase,
        "optimizer": config.optimizer.optimizer,
        "global_batch": config.global_batch,
        "rate": rate,
        "seed": seed,
        "accuracy": accuracy,
    }


def _summarise(name: str, batch: int, runs: list[dict[str, Any]]) -> dict[str, Any]:
    tested = [run for run in runs if run["phase"] == "test"]
    accuracies = np.array([run["accuracy"] for run in tested])
    return {
        "optimizer": name,
        "global_batch": batch,
        "rate": tested[0]["rate"],
        "mean": float(accuracies.mean()),
        "sd": float(accuracies.std(ddof=1)) if len(accuracies) > 1 else 0.0,
        "n": len(accuracies),
    }


def _check_grid(config: Config, grid: Grid, directory: Path) -> None:
    for name in ("seeds", "trials", "tuning_holdout"):
        value = getattr(grid, name)
        if value < 1:
            raise InputError(f"compare needs at least one of {name}; got {value}")
    for name in ("optimizers", "batches"):
        values = getattr(grid, name)
        if not values or len(set(values)) < len(values):
            raise InputError(f"compare needs {name}, each once; got {values}")
    if not 1 <= grid.rate_span < math.inf:
        raise InputError(f"rate_span must be 1 or more; got {grid.rate_span}")
    data = config.data
    source = load_source(data.dataset, data.train_split, data_dir=data.data_dir)
    for batch in grid.batches:
        cell = check(replace(config, global_batch=batch))
        check_data(cell, len(source) - grid.tuning_holdout)
    if (directory / "config.json").exists():
        raise InputError(
            f"a comparison needs a directory of its own; {directory} holds a run: name "
            "another --run-dir"
        )
