"""The cells of a comparison: what each trains, which rates it tries, if it can run."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import numpy as np

from experiments.lars.check import check, check_steps, check_warmup
from experiments.lars.config import Config, Grid, OptimizerConfig, OptimizerName
from experiments.lars.microbatches import with_microbatches
from lars_jax.data import load_source
from lars_jax.errors import InputError
from lars_jax.optim import VARIANTS
from lars_jax.runs import check_ranges, out_of_range
from lars_jax.train import data_mesh
from lars_jax.train.config import flatten, replace_fields, to_json

CENTRES = {"lars": 4.0, "sgd": 0.1, "nesterov": 0.2, "lamb": 0.03}
"""Middle of the rates tried at a batch of 256, for LARS at eta = 0.001."""


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


def by_variant(grid: Grid, config: Config) -> Grid:
    """Return a grid whose `lars` is called by its variant, as tables have to say.

    Args:
        grid: of which `lars` is that of the configuration.
        config: what all cells share.

    >>> by_variant(Grid(), replace_fields(Config(), variant="byol")).optimizers
    ('byol', 'nesterov')
    """
    variant = config.optimizer.variant
    own = {"lars": variant} if variant != "paper" else {}
    names = tuple(own.get(name, name) for name in grid.optimizers)
    return replace(grid, optimizers=names)


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
        own = OptimizerConfig()
        rule = {"optimizer": name, "variant": own.variant}
        rule |= {"trust_coefficient": own.trust_coefficient}
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


def check_grid(config: Config, grid: Grid) -> None:
    """Refuse what cannot be compared, before anything is trained.

    Args:
        config: what all cells share.
        grid: what they do not.

    Raises:
        InputError: an empty grid, data that cannot be used, or a cell that cannot run.
    """
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
    phases = {"tuned": left, "tested": len(source)}
    devices = data_mesh(config.devices).size
    for name, batch, phase in itertools.product(grid.optimizers, grid.batches, phases):
        try:
            _check_cell(cell_config(config, name, batch), phases[phase], devices)
        except InputError as error:
            raise InputError(
                f"every cell must run; {name} at {batch} cannot when it is {phase}: "
                f"{error}"
            ) from error


def _check_cell(config: Config, examples: int, devices: int) -> None:
    check(config)
    total = config.total_steps(examples)
    check_warmup(config, total, examples / config.global_batch)
    check_steps(config, total)
    # While their number is open it may still be one.
    parts = 1 if config.microbatches == "auto" else config.microbatches
    with_microbatches(config, parts, devices)
