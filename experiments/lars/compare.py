"""Optimizers over batch sizes and seeds, each with the same budget for tuning.

For every optimizer and batch size the same number of learning rates is tried, on one
seed and on training examples held out for the purpose; the best, by accuracy and of
equals by loss, is then trained with every seed on all training examples and evaluated
once on the test split. A rate is traced, so a cell compiles once however many rates it
tries.
"""

import functools
import itertools
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
from tqdm import tqdm

from experiments.lars.check import check
from experiments.lars.config import Config, Grid, OptimizerConfig, OptimizerName
from experiments.lars.trainer import Trainer
from lars_jax.data import load_source
from lars_jax.errors import InputError
from lars_jax.files import local_path, make_directory, replacing
from lars_jax.optim import VARIANTS
from lars_jax.report import accuracy_by_batch_figure
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


def compare(config: Config, grid: Grid, directory: Path) -> str:
    """Run what is missing of the grid, write its table and plot, return the table.

    Args:
        config: what all cells share.
        grid: what they do not.
        directory: gets `results.jsonl` (a row a run), `config.json`, `table.md` and
            `accuracy.svg`; a comparison that was stopped there goes on.

    Raises:
        InputError: an empty grid, a cell that cannot run, or a directory that holds
            something else.
    """
    directory = local_path(directory)
    _check_grid(config, grid)
    cells = [(name, batch) for name in grid.optimizers for batch in grid.batches]
    known = _begin(config, grid, cells[0], directory)
    rows = []
    runs_in_all = len(cells) * (grid.trials + grid.seeds)
    with lock(directory), tqdm(total=runs_in_all, unit="run") as progress:
        for name, batch in cells:
            runs = []
            for run in _run_cell(cell_config(config, name, batch), name, grid, known):
                if run not in known:
                    append_row(directory / RESULTS, run)
                runs.append(run)
                progress.update()
            rows.append(_summarise(runs))
            tqdm.write(markdown(rows[-1:]).splitlines()[-1], file=sys.stderr)
    table = markdown(rows)
    write_text(directory / "table.md", table)
    figure = accuracy_by_batch_figure(rows)
    with replacing(directory / "accuracy.svg") as temporary:
        figure.savefig(temporary)
    return table


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


def _begin(
    config: Config, grid: Grid, cell: tuple[str, int], directory: Path
) -> list[dict[str, Any]]:
    """Return the runs that a directory has already, if it is of this comparison."""
    asked = json.loads(json.dumps({"config": asdict(config), "grid": asdict(grid)}))
    path, results = directory / "config.json", directory / RESULTS
    if not path.exists() and not results.exists():
        # What is wrong with data or weights is met before anything is written.
        Trainer.create(cell_config(config, *cell)).init()
        make_directory(directory)
        write_json(path, asked | {"environment": environment()})
        return []
    found = read_json(path)
    found = found if isinstance(found, dict) else {}
    changes = difference({name: found.get(name, {}) for name in asked}, asked)
    if changes:
        raise InputError(
            f"a comparison needs a directory of its own; {directory} holds another "
            f"({changes[0]}): name another --run-dir"
        )
    known = list(read_lines(results))
    # Without what a crash cut short.
    write_text(results, "".join(json.dumps(run) + "\n" for run in known))
    return known


def _run_cell(
    config: Config, name: str, grid: Grid, known: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield a row for each trial and each seed of one optimizer at one batch size."""

    @functools.cache
    def trainer(phase: str) -> Trainer:
        holdout = grid.tuning_holdout if phase == "tune" else 0
        return Trainer.create(replace_fields(config, holdout=holdout))

    def run(phase: str, rate: float, seed: int) -> dict[str, Any]:
        own = {"phase": phase, "optimizer": name, "global_batch": config.global_batch}
        own |= {"rate": rate, "seed": seed}
        for row in known:
            if own.items() <= row.items():
                return row
        accuracy, loss = _train(trainer(phase), learning_rate=rate, seed=seed)
        return own | {"accuracy": accuracy, "loss": loss}

    scores = {}
    for rate in learning_rates(config, grid.trials, grid.rate_span):
        row = run("tune", rate, config.seed)
        # Of equal accuracy the lower loss is better; older rows have none.
        scores[rate] = row["accuracy"], -row.get("loss", math.inf)
        yield row
    best = max(scores, key=lambda rate: scores[rate])
    for seed in range(grid.seeds):
        yield run("test", best, seed)


def _train(trainer: Trainer, **numbers: Any) -> tuple[float, float]:
    """Train once and return accuracy and loss; divergence scores nothing."""
    config = replace_fields(trainer.config, **numbers)
    try:
        state, _ = trainer.fit(trainer.init(config), seed=config.seed)
    except NonFiniteError:
        return 0.0, math.inf
    found = trainer.evaluate(state)
    return found["accuracy"], found["loss"]


def _summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    tested = [run for run in runs if run["phase"] == "test"]
    accuracies = np.array([run["accuracy"] for run in tested])
    return {name: tested[0][name] for name in ("optimizer", "global_batch", "rate")} | {
        "mean": float(accuracies.mean()),
        "sd": float(accuracies.std(ddof=1)) if len(accuracies) > 1 else 0.0,
        "n": len(accuracies),
    }


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
