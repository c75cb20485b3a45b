"""Optimizers over batch sizes and seeds, each with the same budget for tuning.

For every optimizer and batch size the same number of learning rates is tried, on one
seed and on training examples held out for the purpose; the best, by accuracy and of
equals by loss, is then trained with every seed on all training examples and evaluated
once on the test split. Where the best lies at an edge further rates may be tried. A
rate is traced, so a cell compiles once however many rates it tries; where all cells
share a ghost batch and their data lie on the device, all runs are one program.
"""

import contextlib
import functools
import itertools
import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from experiments.lars.cells import (
    beyond,
    by_variant,
    cell_config,
    check_grid,
    learning_rates,
    telling_first,
)
from experiments.lars.config import Config, Grid
from experiments.lars.inputs import open_sources
from experiments.lars.summary import (
    comparison_figures,
    comparison_tables,
    diverged,
    markdown,
    score,
    summarise_cell,
    unfinished,
)
from experiments.lars.sweep import Sweep, SweepTrainer, obstacle
from experiments.lars.trainer import Trainer
from lars_jax.cpu import keep_memory
from lars_jax.data import identify
from lars_jax.data.fingerprint import Fingerprint
from lars_jax.errors import InputError
from lars_jax.files import local_path, make_directory, replacing
from lars_jax.runs.data import data_change, summaries, write_parts
from lars_jax.runs.files import warn
from lars_jax.runs.paths import absolute_paths, with_data_at
from lars_jax.train import NonFiniteError
from lars_jax.train.config import difference, fits, from_json, replace_fields, to_json
from lars_jax.train.record import (
    append_row,
    environment,
    lock,
    read_json,
    read_lines,
    write_json,
    write_text,
)

RESULTS, SETTINGS = "results.jsonl", "config.json"
"""A row for each run of a comparison, and what they are of."""

FIELDS = {
    "phase": Literal["tune", "test"],
    "optimizer": str,
    "global_batch": int,
    "rate": float,
    "seed": int,
    "accuracy": float,
}
"""What every row has."""


def compare(
    config: Config,
    grid: Grid,
    directory: Path,
    known: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Run what is missing of the grid, write its table and plot, return the table.

    Where the hours are over before all is tested, the table says so, and how to go on.

    Args:
        config: what all cells share.
        grid: what they do not.
        directory: gets `results.jsonl` (a row a run), `config.json`, `table.md`,
            `accuracy.svg` and of the smallest and largest batch `rates-BATCH.svg`; a
            comparison that was stopped there goes on, with more seeds if they are
            asked for.
        known: rows of the same comparison elsewhere, which a new directory begins with.

    Raises:
        InputError: an empty grid, a cell that cannot run, or a directory that holds
            something else or is of other data.
    """
    keep_memory()
    directory, config = local_path(directory), absolute_paths(config)
    check_grid(config, grid)
    grid = by_variant(grid, config)
    cells = [
        (name, cell_config(config, name, batch))
        for batch in telling_first(grid.batches)
        for name in grid.optimizers
    ]
    shared = functools.cache(lambda: _sweep([cell for _, cell in cells]))

    def load() -> None:
        if shared()[0] is None:
            Trainer.create(cells[0][1]).init()

    data = _identified(config)
    if not (directory / SETTINGS).exists() and not (directory / RESULTS).exists():
        # What is wrong with data or weights is met before anything is written.
        load()
    make_directory(directory)
    # Before what is there is read, to which another may be adding.
    with lock(directory):
        known = _begin(config, grid, data, directory, known)
        sweep, programs = shared()
        place = f"run directory: {directory}"
        for line in (place, programs, *_other_environments(known)):
            tqdm.write(line, file=sys.stderr)
        seeds = range(grid.seeds)
        # Where a cell has a program of its own, all of its runs come before the next.
        rounds = [seeds] if sweep is None else [[seed] for seed in seeds]
        total = len(cells) * (grid.trials + grid.seeds)
        with tqdm(total=total, initial=len(known), unit="run") as progress:
            runs = Runs(grid, directory, known, sweep, progress)
            with contextlib.suppress(OutOfTime):
                for (name, cell), several in itertools.product(cells, rounds[:1]):
                    runs.cell(name, cell, several)
                for several, (name, cell) in itertools.product(rounds[1:], cells):
                    runs.cell(name, cell, several)
    table = comparison_tables(runs.rows, grid)
    write_text(directory / "table.md", table)
    for name, figure in comparison_figures(runs.rows, grid).items():
        with replacing(directory / f"{name}.svg") as temporary:
            figure.savefig(temporary)
    if unfinished(runs.rows, grid):
        table += f"\nThe same command goes on with --run-dir {directory}\n"
    return table


def _identified(config: Config) -> dict[str, Fingerprint]:
    """Return what tells the data and the initial weights of a comparison from others.

    Raises:
        InputError: they cannot be read.
    """
    found = {split: identify(one) for split, one in open_sources(config).items()}
    if config.init_from is not None:
        found["init_from"] = Fingerprint.of_files([local_path(config.init_from)])
    return found


def _begin(
    config: Config,
    grid: Grid,
    data: dict[str, Fingerprint],
    directory: Path,
    elsewhere: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Return the runs that a directory has already, if it is of this comparison."""
    asked = {
        "config": to_json(config),
        # How long one start may take is no part of what is compared.
        "grid": to_json(replace(grid, hours=None)),
        "data": summaries(data),
    }
    path, results = directory / SETTINGS, directory / RESULTS
    if not path.exists() and not results.exists():
        known = [_checked(dict(run), results) for run in elsewhere]
        write_parts(directory, data)
        write_json(path, asked | {"environment": environment()})
        for run in known:
            append_row(results, run)
        return known
    found = read_json(path)
    _require_same(directory, found, config, grid)
    if "data" not in found:
        warn(
            "this comparison was begun before comparisons remembered their data; "
            "nothing tells whether they are still the same"
        )
    elif change := data_change(directory, found, data):
        raise InputError(
            f"a comparison must keep the data that it began with; of {directory} "
            f"{change}: put them back, or name another --run-dir"
        )
    write_parts(directory, data)
    write_json(path, found | asked)
    known = [_checked(run, results) for run in read_lines(results)]
    # Without what a crash cut short.
    write_text(results, "".join(json.dumps(run) + "\n" for run in known))
    return known


def _require_same(directory: Path, found: Any, config: Config, grid: Grid) -> None:
    """Raise `InputError` unless what a directory holds is this comparison."""
    found = found if isinstance(found, dict) else {}
    parts = [found.get("config"), found.get("grid")]
    if not all(isinstance(part, dict) for part in parts):
        raise InputError(
            f"{directory}/config.json must hold a configuration and a grid; it does "
            "not: name another --run-dir"
        )
    # Through dataclasses, so that a field younger than the directory is no change.
    before = from_json(Config, parts[0]), from_json(Grid, parts[1])

    def plain(config: Config, whole: Grid) -> dict[str, Any]:
        # Data are known by their digest, and may have been moved. Each seed is a run of
        # its own, so a comparison may be asked for more of them.
        config = with_data_at(absolute_paths(config), "")
        whole = replace(whole, seeds=grid.seeds, hours=None)
        return {"config": to_json(config), "grid": to_json(whole)}

    changes = difference(plain(*before), plain(config, grid))
    if changes:
        raise InputError(
            f"a comparison needs a directory of its own; {directory} holds another "
            f"({changes[0]}): name another --run-dir"
        )


def _other_environments(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line where runs are of other code or versions than those that follow."""
    now = environment()
    other = [run.get("environment") for run in runs if run.get("environment") != now]
    if other:
        last = other[-1]
        change = "; ".join(difference(last, now)) if last else "nobody wrote it down"
        yield (
            f"{len(other)} of {len(runs)} known runs are of another environment "
            f"({change}): the tables hold both"
        )


def _checked(run: dict[str, Any], place: Path) -> dict[str, Any]:
    if not all(fits(kind, run.get(name)) for name, kind in FIELDS.items()):
        raise InputError(
            f"{place} must hold runs with {', '.join(FIELDS)}; got {json.dumps(run)}: "
            "remove that row"
        )
    # As it was written once.
    return run | {"loss": None, "diverged": True} if diverged(run) else run


class OutOfTime(Exception):
    """The hours of a comparison are over."""


class Runs:
    """The runs of a comparison: those that are known, and those that follow.

    Args:
        grid: of the comparison.
        directory: gets a row for each run that follows.
        known: rows that are there already.
        sweep: through whose program all runs go; None: each cell has its own.
        progress: is told of each run.
    """

    def __init__(
        self,
        grid: Grid,
        directory: Path,
        known: list[dict[str, Any]],
        sweep: Sweep | None,
        progress: Any,
    ):
        self._grid = grid
        self._results = directory / RESULTS
        self.rows = list(known)
        self._progress = progress
        self._environment = environment()
        create = Trainer.create if sweep is None else sweep.trainer
        # Those of one cell, to tune and to test.
        self._trainer = functools.lru_cache(maxsize=2)(create)
        self._until = math.inf
        if grid.hours is not None:
            self._until = time.monotonic() + 3600 * grid.hours

    def of(self, phase: str, name: str, batch: int) -> list[dict[str, Any]]:
        """Return the rows of one phase of a cell."""
        own = {"phase": phase, "optimizer": name, "global_batch": batch}
        return [row for row in self.rows if own.items() <= row.items()]

    def cell(self, name: str, config: Config, seeds: Iterable[int]) -> None:
        """Tune a cell, and train it with these seeds at the best rate.

        Raises:
            OutOfTime: the hours are over, before a run begins.
        """
        tested = self.of("test", name, config.global_batch)
        # All seeds have one rate; by old rows, without a loss, a tie may end otherwise.
        best = tested[0]["rate"] if tested else self.tuned(name, config)
        for seed in seeds:
            self.run("test", name, config, best, seed)
        found = summarise_cell(self.of("test", name, config.global_batch))
        line = markdown([found]).splitlines()[-1]
        self._progress.write(line, file=sys.stderr)

    def tuned(self, name: str, config: Config) -> float:
        """Return the best of the rates that a cell tries.

        While that is the lowest or the highest, a further one beyond is tried.
        """
        grid, scores = self._grid, {}
        rates = learning_rates(config, grid.trials, grid.rate_span)
        while rates:
            for rate in rates:
                scores[rate] = score(self.run("tune", name, config, rate, config.seed))
            best = max(scores, key=lambda rate: scores[rate])
            spent = len(scores) - grid.trials
            rates = beyond(sorted(scores), best)[: grid.widen - spent]
        return best

    def run(
        self, phase: str, name: str, config: Config, rate: float, seed: int
    ) -> dict[str, Any]:
        """Return the row of a run, which is trained if there is none.

        Raises:
            OutOfTime: there is none, and the hours are over.
        """
        own = {"rate": rate, "seed": seed}
        for row in self.of(phase, name, config.global_batch):
            if own.items() <= row.items():
                return row
        if time.monotonic() > self._until:
            raise OutOfTime
        holdout = self._grid.tuning_holdout if phase == "tune" else 0
        trainer = self._trainer(replace_fields(config, holdout=holdout))
        row = {"phase": phase, "optimizer": name, "global_batch": config.global_batch}
        began = time.monotonic()
        row |= own | _train(trainer, learning_rate=rate, seed=seed)
        row["wall_seconds"] = round(time.monotonic() - began, 1)
        row |= {"environment": self._environment}
        append_row(self._results, row)
        self.rows.append(row)
        self._progress.update()
        return row


def _sweep(cells: list[Config]) -> tuple[Sweep | None, str]:
    """Return the program of all cells, if they can share one, and a line that says."""
    reason = obstacle(cells)
    if reason is None:
        sweep = Sweep(cells)
        if sweep.fits:
            return sweep, "one compiled program for all runs"
        reason = "the data set does not fit the device"
    return None, f"a program for each cell, as {reason}"


def _train(trainer: Trainer | SweepTrainer, **numbers: Any) -> dict[str, Any]:
    """Train once and return accuracy and loss; divergence scores nothing."""
    config = replace_fields(trainer.config, **numbers)
    try:
        state, _ = trainer.fit(trainer.init(config), seed=config.seed)
    except NonFiniteError:
        return {"accuracy": 0.0, "loss": None, "diverged": True}
    found = trainer.evaluate(state, seed=config.seed)
    # JSON has no infinity.
    loss = found["loss"] if math.isfinite(found["loss"]) else None
    return {"accuracy": found["accuracy"], "loss": loss}
