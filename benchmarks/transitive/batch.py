"""Large batches of pairs: does what batch size costs depend on the negatives?

    python -m benchmarks.transitive.batch --file eth80.npz --run-dir DIR --record

With one random negative a larger batch only lowers the noise of gradients; with all of
the batch the loss itself becomes harder. So negatives are crossed with the batch and
with the rule, at the same number of images seen. The rate of each rule is chosen at the
batch of REFERENCE with all negatives, on objects split off from those to learn from, by
the mean of three splits less its standard error, for runs are far apart. From there it
goes with the batch for SGD, and with its root for LARS and LAMB. The trust ratio of the
last layer, whose scale the loss does not see, is recorded with and without decay. Two
processes may share the seeds, each in a directory of its own.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.common.records import write_record
from benchmarks.transitive.runs import begin, joined, recorded
from experiments.transitive.compare import RESULTS, run_cells
from experiments.transitive.presets import PRESETS
from lars_jax.train import Interrupt
from lars_jax.train.config import replace_fields, to_json
from lars_jax.train.record import read_lines

COMMAND = "python -m benchmarks.transitive.batch"
NAME = "transitive_batch"

NEGATIVES = ("random", "all", "half_hard")
"""Negatives of a pair, the most telling first."""
BATCHES = (100, 400, 1600)
REFERENCE = 400
"""Images of the batch that rates are chosen at."""

RATES = {
    "sgd": (0.003, 0.01, 0.03, 0.1),
    "lars": (0.5, 1.0, 2.0, 4.0, 8.0, 16.0),
    "lamb": (0.001, 0.003, 0.01, 0.03),
}
"""Rates that each rule tries."""

POWERS = {"sgd": 1.0, "lars": 0.5, "lamb": 0.5}
"""Power of the batch that the rate of a rule goes with."""

WARMUP = 0.1
"""Share of the steps that the rate rises over."""

MEASURE = "trained, head"
"""Features by which rates are chosen, and of which the interaction is reported."""

SHARED = {
    "image_size": 32,
    "width": 0.5,
    "weight_decay": 5e-4,
    "parents": 12,
}
"""What all runs have beside the preset: a network that two cores train quickly."""


def main(
    file: Path,
    run_dir: Path,
    images: int = 320_000,
    tuned_on: int = 64_000,
    tuned_by: tuple[int, ...] = (0, 1, 2),
    seeds: tuple[int, ...] = (0, 1, 2),
    record: bool = False,
) -> None:
    """Run what is missing, and write the record after each run if asked.

    Args:
        file: ETH-80.
        run_dir: where runs are.
        images: seen in a run.
        tuned_on: images seen in a run that a rate is chosen by.
        tuned_by: seeds of these runs.
        seeds: of objects, weights and order.
        record: write `records/transitive_batch.json`.
    """
    config = replace_fields(
        PRESETS["eth80"].config, videos=f"eth80:{file.absolute()}", **SHARED
    )
    # The path says where the file lay, not what was found.
    said = replace_fields(config, videos="eth80:eth80.npz")
    begin(run_dir / "tuning", recorded(NAME, said, "tuning"))
    begin(run_dir / "grid", recorded(NAME, said))
    with Interrupt() as interrupt:
        tuning = replace_fields(config, tuning=True)
        tried = run_cells(
            tuning,
            dict(rate_cells(tuned_on)),
            tuned_by,
            run_dir / "tuning",
            interrupt=interrupt,
        )
        rates = chosen_rates(tried)
        print(rates, flush=True)
        cells = dict(grid_cells(rates, images))
        for seed in seeds:
            for cell, fields in cells.items():
                run_cells(
                    config,
                    {cell: fields},
                    (seed,),
                    run_dir / "grid",
                    interrupt=interrupt,
                )
                own = list(read_lines(run_dir / "grid" / RESULTS))
                rows = joined(recorded(NAME, said), own, [*cells])
                print(*interactions(rows), sep="\n", flush=True)
                if record:
                    write_record(
                        NAME,
                        COMMAND,
                        config=to_json(said),
                        rates=rates,
                        tuning=tried,
                        runs=rows,
                    )


def cell(rule: str, batch: int, rate: float, images: int, **other: Any) -> dict:
    """Return the fields of a run at a batch, with its share of warm-up."""
    steps = max(2, images // batch)
    return {
        "optimizer": rule,
        "global_batch": batch,
        "learning_rate": rate,
        "steps": steps,
        "warmup_steps": round(WARMUP * steps),
        **other,
    }


def rate_cells(images: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the runs that rates are chosen by."""
    for rule, rates in RATES.items():
        for rate in rates:
            yield (
                f"{rule} {rate:g}",
                cell(rule, REFERENCE, rate, images, negatives="all"),
            )


def chosen_rates(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the rate of each rule whose features recognise most.

    That is by the mean over seeds less its standard error.

    >>> def row(rate, seed, share):
    ...     return {"fields": {"optimizer": "sgd", "learning_rate": rate},
    ...         "evaluation": {"photographs": {MEASURE: {"nearest": share}}}}
    >>> chosen_rates([row(1, 0, 0.9), row(1, 1, 0.4), row(2, 0, 0.6), row(2, 1, 0.6)])
    {'sgd': 2}
    """

    def least(shares: list[float]) -> float:
        error = np.std(shares, ddof=1) / len(shares) ** 0.5 if shares[1:] else 0.0
        return float(np.mean(shares) - error)

    shares: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        rule, rate = row["fields"]["optimizer"], row["fields"]["learning_rate"]
        share = row["evaluation"]["photographs"][MEASURE]["nearest"]
        shares.setdefault(rule, {}).setdefault(rate, []).append(share)
    return {
        rule: max(rates, key=lambda rate: least(rates[rate]))
        for rule, rates in shares.items()
    }


def grid_cells(
    rates: Mapping[str, float], images: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the runs of the grid, those of the last layer's decay among them.

    The most telling come first.
    """
    for negatives in NEGATIVES:
        for batch, rule in itertools.product(BATCHES, RATES):
            rate = scaled(rates[rule], rule, batch)
            yield (
                f"{negatives}, {batch}, {rule}",
                cell(rule, batch, rate, images, negatives=negatives),
            )
        if negatives == "all":
            batch = BATCHES[-1]
            rate = scaled(rates["lars"], "lars", batch)
            plain = cell("lars", batch, rate, images, negatives="all", weight_decay=0.0)
            yield f"all, {batch}, lars without decay", plain


def scaled(rate: float, rule: str, batch: int) -> float:
    """Return the rate of a rule at a batch, from that at the batch of reference.

    >>> scaled(0.1, "sgd", 1600), scaled(0.1, "lars", 1600)
    (0.4, 0.2)
    """
    return rate * (batch / REFERENCE) ** POWERS[rule]


def interactions(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how much more a large batch costs with several negatives than with one.

    For each seed: (several, largest - several, smallest) - (random, largest - random,
    smallest), in shares of photographs, by a rule or as the mean over all rules, with
    mean and standard error over seeds.

    >>> def row(negatives, batch, share):
    ...     probes = {MEASURE: {"nearest": share}}
    ...     return {"cell": f"{negatives}, {batch}, sgd", "seed": 0,
    ...         "evaluation": {"photographs": probes}}
    >>> rows = [row("all", 100, 0.8), row("all", 1600, 0.75), row("random", 100, 0.5),
    ...     row("random", 1600, 0.5)]
    >>> [found] = interactions(rows)
    >>> found["negatives"], found["rule"], round(found["mean"], 3)
    ('all', 'sgd', -0.05)
    """
    shares = {
        (row["cell"], row["seed"]): row["evaluation"]["photographs"][MEASURE]["nearest"]
        for row in rows
    }
    seeds = sorted({row["seed"] for row in rows})

    def lost(negatives: str, rule: str, seed: int) -> float:
        """Return what the largest batch has beyond the smallest, NaN where not run."""
        largest, smallest = (
            shares.get((f"{negatives}, {batch}, {rule}", seed), math.nan)
            for batch in (BATCHES[-1], BATCHES[0])
        )
        return largest - smallest

    found = []
    for negatives, rules in itertools.product(
        NEGATIVES[1:], [*([rule] for rule in RATES), [*RATES]]
    ):
        values = [
            np.mean(
                [lost(negatives, rule, s) - lost("random", rule, s) for rule in rules]
            )
            for s in seeds
        ]
        known = [value for value in values if not np.isnan(value)]
        if known:
            error = np.std(known, ddof=1) / len(known) ** 0.5 if known[1:] else None
            found.append(
                {
                    "negatives": negatives,
                    "rule": ", ".join(rules),
                    "n": len(known),
                    "mean": float(np.mean(known)),
                    "standard_error": None if error is None else float(error),
                }
            )
    return found


if __name__ == "__main__":
    tyro.cli(main)
