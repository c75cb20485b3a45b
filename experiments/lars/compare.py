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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from tqdm import tqdm

from experiments.lars.check import check
from experiments.lars.config import Config, Grid, OptimizerConfig, OptimizerName
from experiments.lars.summary import (
    comparison_figures,
    comparison_tables,
    markdown,
    summarise,
    summarise_cell,
)
from experiments.lars.sweep import Sweep, SweepTrainer, obstacle
from experiments.lars.trainer import Trainer
from lars_jax.cpu import keep_memory
from lars_jax.data import load_source
from lars_jax.errors import InputError
from lars_jax.files import local_path, make_directory, replacing
from lars_jax.optim import VARIANTS
from lars_jax.runs import check_ranges, out_of_range
from lars_jax.train import NonFiniteError
from lars_jax.train.config import difference, flatten, replace_fields, to_json
from lars_jax.train.record import (
    append_row,
    environment,
    lock,
    read_json,
    read_lines,
    write_json,
    write_text,
)

RESULTS = "results.jsonl"
"""A row for each run of a comparison."""

CENTRES = {"lars": 4.0, "sgd": 0.1, "nesterov": 0.2, "lamb": 0.03}
"""Middle of the rates tried at a batch of 256, for LARS at eta = 0.001."""


def compare(
    config: Config,
    grid: Grid,
    directory: Path,
    known: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Run what is missing of the grid, write its table and plot, return the table.

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
            something else.
    """
    keep_memory()
    directory = local_path(directory)
    _check_grid(config, grid)
    cells = [
        (name, cell_config(config, name, batch))
        for batch in telling_first(grid.batches)
        for name in grid.optimizers
    ]
    shared = functools.cache(lambda: _sweep([cell for _, cell in cells]))

    def load() -> None:
        if shared()[0] is None:
            Trainer.create(cells[0][1]).init()

    known = _begin(config, grid, load, directory, known)
    sweep, programs = shared()
    tqdm.write(programs, file=sys.stderr)
    seeds = range(grid.seeds)
    # Where a cell has a program of its own, all of its runs come before the next.
    rounds = [seeds] if sweep is None else [[seed] for seed in seeds]
    total = len(cells) * (grid.trials + grid.seeds)
    bar = tqdm(total=total, initial=len(known), unit="run")
    with lock(directory), bar as progress:
        runs = Runs(grid, directory, known, sweep, progress)
        with contextlib.suppress(OutOfTime):
            for (name, cell), several in itertools.product(cells, rounds[:1]):
                runs.cell(name, cell, several)
            for several, (name, cell) in itertools.product(rounds[1:], cells):
                runs.cell(name, cell, several)
    rows = summarise(runs.rows, grid)
    if not rows:
        return "no cell was tested in time; the same command goes on\n"
    table = comparison_tables(runs.rows, grid)
    write_text(directory / "table.md", table)
    for name, figure in comparison_figures(runs.rows, grid).items():
        with replacing(directory / f"{name}.svg") as temporary:
            figure.savefig(temporary)
    return table


def telling_first(batches: Sequence[int]) -> list[int]:
    """Return the largest batch, the smallest, then the others from the largest down.

    >>> telling_first([128, 512, 2048, 8192])
    [8192, 128, 2048, 512]
    """
    falling = sorted(batches, reverse=True)
    return [falling[0], *falling[:0:-1][:1], *falling[1:-1]]


def refuse_tuned(config: Config, preset: Config) -> None:
    """Refuse fields that were changed though every cell of a grid has its own.

    Raises:
        InputError: one of them differs from the preset.
    """
    tuned = {
        "optimizer.learning_rate": "leave it out: every cell tunes its own",
        "optimizer.optimizer": "name them after --optimizers",
        "global_batch": "name them after --batches",
    }
    before, after = flatten(to_json(preset)), flatten(to_json(config))
    for name, way in tuned.items():
        if before[name] != after[name]:
            flag = "--" + name.rpartition(".")[2].replace("_", "-")
            raise InputError(
                f"compare has its own {name} in each cell; got {flag} {after[name]}: "
                f"{way}"
            )


def cell_config(config: Config, name: str, batch: int) -> Config:
    """Return the configuration of a cell.

    Args:
        config: what all cells share; `lars` is of its variant.
        name: an optimizer, or a variant of LARS.
        batch: global batch.

    >>> cell_config(Config(), "byol", 64).optimizer.variant
    'byol'
    """
    if name == "lars":
        rule = {"optimizer": "lars"}
    elif name in get_args(OptimizerName):
        rule = {"optimizer": name, "variant": "paper"}
    else:
        rule = {"optimizer": "lars", "variant": name}
    return replace_fields(config, global_batch=batch, **rule)


def middle_rate(config: Config) -> float:
    """Return the middle of the rates that a cell tries.

    It grows with the square root of the batch for every optimizer alike. LARS moves by
    gamma * eta, so its middle goes with 1 / eta. Where a ratio is clipped, gamma is the
    highest rate of a layer, as it is with SGD; where it is measured on the momentum,
    which is longer than a gradient, it is smaller: about four times on digits.

    >>> middle_rate(Config(global_batch=1024))
    8.0
    """
    rule, variant = config.optimizer, VARIANTS[config.optimizer.variant]
    if rule.optimizer != "lars":
        centre = CENTRES[rule.optimizer]
    elif variant.clip:
        centre = CENTRES["sgd"]
    else:
        centre = CENTRES["lars"] * 1e-3 / rule.trust_coefficient
        centre *= 4.0 if variant.denominator == "momentum" else 1.0
    return centre * math.sqrt(config.global_batch / 256)


def learning_rates(config: Config, trials: int, span: float) -> list[float]:
    """Return the rates that a cell tries, evenly spaced in the logarithm.

    Args:
        config: of the cell.
        trials: number of rates.
        span: ratio of the highest to the lowest.

    >>> learning_rates(Config(global_batch=1024), 3, 4.0)
    [4.0, 8.0, 16.0]
    """
    centre = middle_rate(config)
    if trials == 1:
        return [centre]
    exponents = np.linspace(-0.5, 0.5, trials)
    return [float(round(centre * span**e, 6)) for e in exponents]


def _begin(
    config: Config,
    grid: Grid,
    load: Callable[[], None],
    directory: Path,
    elsewhere: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Return the runs that a directory has already, if it is of this comparison."""
    # How long one start may take is no part of what is compared.
    whole = replace(grid, hours=None)
    asked = json.loads(json.dumps({"config": asdict(config), "grid": asdict(whole)}))
    path, results = directory / "config.json", directory / RESULTS
    if not path.exists() and not results.exists():
        # What is wrong with data or weights is met before anything is written.
        load()
        make_directory(directory)
        write_json(path, asked | {"environment": environment()})
        for row in elsewhere:
            append_row(results, row)
        return [dict(row) for row in elsewhere]
    found = read_json(path)
    found = found if isinstance(found, dict) else {}
    if isinstance(found.get("grid"), dict):
        # Each seed is a run of its own, so a comparison may be asked for more of them.
        found["grid"]["seeds"] = grid.seeds
    changes = difference({name: found.get(name, {}) for name in asked}, asked)
    if changes:
        raise InputError(
            f"a comparison needs a directory of its own; {directory} holds another "
            f"({changes[0]}): name another --run-dir"
        )
    write_json(path, found)
    known = list(read_lines(results))
    # Without what a crash cut short.
    write_text(results, "".join(json.dumps(run) + "\n" for run in known))
    return known


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
        best = self.tuned(name, config)
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
                row = self.run("tune", name, config, rate, config.seed)
                # Of equal accuracy the lower loss is better; older rows have none.
                scores[rate] = row["accuracy"], -row.get("loss", math.inf)
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
        accuracy, loss = _train(trainer, learning_rate=rate, seed=seed)
        row = {"phase": phase, "optimizer": name, "global_batch": config.global_batch}
        row |= own | {"accuracy": accuracy, "loss": loss}
        append_row(self._results, row)
        self.rows.append(row)
        self._progress.update()
        return row


def beyond(rates: Sequence[float], best: float) -> list[float]:
    """Return the next rate where the best lies at an edge, none where it does not.

    Args:
        rates: that were tried, at least one, rising.
        best: of these.

    >>> beyond([1.0, 2.0, 4.0], 4.0), beyond([1.0, 2.0, 4.0], 2.0), beyond([1.0], 1.0)
    ([8.0], [], [])
    """
    if len(rates) < 2 or best not in (rates[0], rates[-1]):
        return []
    factor = rates[1] / rates[0]
    return [float(round(best * factor if best == rates[-1] else best / factor, 6))]


def _sweep(cells: list[Config]) -> tuple[Sweep | None, str]:
    """Return the program of all cells, if they can share one, and a line that says."""
    reason = obstacle(cells)
    if reason is None:
        sweep = Sweep(cells)
        if sweep.fits:
            return sweep, "one compiled program for all runs"
        reason = "the data set does not fit the device"
    return None, f"a program for each cell, as {reason}"


def _train(trainer: Trainer | SweepTrainer, **numbers: Any) -> tuple[float, float]:
    """Train once and return accuracy and loss; divergence scores nothing."""
    config = replace_fields(trainer.config, **numbers)
    try:
        state, _ = trainer.fit(trainer.init(config), seed=config.seed)
    except NonFiniteError:
        return 0.0, math.inf
    found = trainer.evaluate(state)
    return found["accuracy"], found["loss"]


def _check_grid(config: Config, grid: Grid) -> None:
    check_ranges(grid)
    if config.data.holdout:
        raise InputError(
            "compare tests on the test split and tunes on --tuning-holdout examples; "
            f"got holdout {config.data.holdout}: leave --holdout out"
        )
    for name in ("optimizers", "batches"):
        values = getattr(grid, name)
        if not values or len(set(values)) < len(values):
            raise InputError(
                f"compare needs {name}, each once; got {values}: name them after "
                f"--{name}, separated by spaces"
            )
    if min(grid.batches) < 1:
        raise out_of_range("batches", "whole numbers above 0", grid.batches)
    rules: dict[OptimizerConfig, str] = {}
    for name in grid.optimizers:
        rule = cell_config(config, name, grid.batches[0]).optimizer
        if rule in rules:
            raise InputError(
                f"compare needs different optimizers; {rules[rule]} and {name} are the "
                "same here: leave one out"
            )
        rules[rule] = name
    if config.optimizer.trust_coefficient == 0:
        raise InputError(
            "compare needs a trust_coefficient above 0; got 0, with which LARS stands "
            "still: set --trust-coefficient above 0"
        )
    data = config.data
    source = load_source(data.dataset, data.train_split, data_dir=data.data_dir)
    if grid.tuning_holdout >= len(source):
        raise out_of_range(
            "tuning_holdout",
            f"below the {len(source):,} training examples",
            grid.tuning_holdout,
        )
    left = len(source) - grid.tuning_holdout
    if max(grid.batches) > left:
        raise InputError(
            f"batches must not exceed the examples left to train on; got "
            f"{max(grid.batches)} of {left}: lower --batches or --tuning-holdout"
        )
    for name, batch in itertools.product(grid.optimizers, grid.batches):
        check(cell_config(config, name, batch))
