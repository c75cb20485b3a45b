"""Compare optimizers over batch sizes, all tuned alike, and record every run.

    TFDS_DATA_DIR=... python -m benchmarks.lars.compare --preset fashion_mnist

What is stopped goes on, in its directory or from the record. Two processes may share
the optimizers, each in a directory of its own: on two cores they do more than one.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from benchmarks.common.commands import command
from benchmarks.common.records import (
    RECORDS,
    is_of,
    read_record,
    record_path,
    write_record,
)
from experiments.lars.compare import RESULTS, compare
from experiments.lars.config import Config, Grid, OptimizerName, VariantName
from experiments.lars.presets import get_preset
from experiments.lars.summary import comparison_figures, comparison_tables
from lars_jax.errors import InputError
from lars_jax.files import replacing
from lars_jax.train.config import replace_fields, to_json
from lars_jax.train.record import read_lines

COMMAND = "python -m benchmarks.lars.compare"

PRESETS = {
    "digits": Grid(
        optimizers=("lars", "nesterov", "lamb"),
        batches=(64, 256, 1024),
        seeds=3,
        trials=5,
        tuning_holdout=300,
        rate_span=16.0,
    ),
    "fashion_mnist": Grid(
        optimizers=("sgd", "nesterov", "lars", "mlperf_scaled", "lamb"),
        batches=(128, 512, 2048, 8192, 16384),
        seeds=5,
        trials=3,
        tuning_holdout=5000,
        rate_span=9.0,
        widen=3,
    ),
    "cifar10_resnet8": Grid(
        optimizers=("sgd", "nesterov", "lars"),
        batches=(128, 1024, 8192),
        seeds=3,
        trials=3,
        tuning_holdout=5000,
        rate_span=9.0,
        widen=3,
    ),
}
"""What is compared, by the preset that all cells share."""


def main(
    run_dir: Path | None = None,
    preset: Literal["digits", "fashion_mnist", "cifar10_resnet8"] = "digits",
    optimizers: tuple[OptimizerName | VariantName, ...] = (),
    data_dir: Path | None = None,
    hours: float | None = None,
) -> None:
    """Run what is missing, and write `records/compare_PRESET.json` and its figures.

    Args:
        run_dir: where the comparison's own files go; by default `runs/compare-PRESET`.
        preset: that all cells share.
        optimizers: of the grid that this process trains; empty: all.
        data_dir: where a prepared data set lies.
        hours: after which no run begins; None: all run.

    Raises:
        InputError: an optimizer that is not of the grid.
    """
    run_dir = run_dir or Path("runs") / f"compare-{preset}"
    whole = PRESETS[preset]
    own = dataclasses.replace(
        whole, optimizers=_chosen(whole, optimizers or whole.optimizers), hours=hours
    )
    config = replace_fields(get_preset(preset).config, devices=1, log_every=1000)
    placed = config
    if data_dir is not None:
        placed = replace_fields(config, data_dir=str(data_dir))
    known = recorded(preset, config, whole)
    known = [run for run in known if run["optimizer"] in own.optimizers]
    print(compare(placed, own, run_dir, known))
    # What another process has recorded meanwhile stays.
    found = {key(run): run for run in recorded(preset, config, whole)}
    found |= {key(run): run for run in read_lines(run_dir / RESULTS)}
    order = {name: place for place, name in enumerate(whole.optimizers)}
    runs = sorted(
        found.values(), key=lambda run: (order[run["optimizer"]], run["global_batch"])
    )
    print(
        write_record(
            f"compare_{preset}",
            f"{COMMAND} --preset {preset}",
            runs=runs,
            grid=to_json(whole),
            config=to_json(config),
        )
    )
    print(comparison_tables(runs, whole))
    for name, figure in comparison_figures(runs, whole).items():
        with replacing(RECORDS / f"compare_{preset}_{name}.svg") as temporary:
            figure.savefig(temporary)


def _chosen(grid: Grid, names: Sequence[str]) -> tuple[Any, ...]:
    """Return optimizers of a grid in its order."""
    for name in names:
        if name not in grid.optimizers:
            raise InputError(
                f"optimizers must be of the grid, {', '.join(grid.optimizers)}; got "
                f"{name}: leave it out"
            )
    return tuple(name for name in grid.optimizers if name in names)


def recorded(preset: str, config: Config, grid: Grid) -> list[dict[str, Any]]:
    """Return the runs of the record, none if it is of another comparison."""
    name = f"compare_{preset}"
    if not record_path(name).exists():
        return []
    found = read_record(name)
    asked = json.loads(json.dumps(to_json(grid)))
    # A field that is missing is younger than the record; each seed is a run of its own.
    same = found["grid"] | {"seeds": grid.seeds}
    same = asked | same == asked and is_of(found, config)
    return found["runs"] if same else []


def key(run: dict[str, Any]) -> tuple[Any, ...]:
    """Return what tells a run from every other.

    >>> key({"phase": "test", "optimizer": "sgd", "global_batch": 128, "rate": 0.1,
    ...     "seed": 0, "accuracy": 0.9})
    ('test', 'sgd', 128, 0.1, 0)
    """
    fields = ("phase", "optimizer", "global_batch", "rate", "seed")
    return tuple(run[name] for name in fields)


if __name__ == "__main__":
    command(main)
