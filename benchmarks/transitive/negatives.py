"""False negatives by batch: how many images of a pair's own category push it away?

    python -m benchmarks.transitive.negatives --file eth80.npz --run-dir DIR --record

The share of false ones among an anchor's negatives does not depend on the batch, but
their number does. Batches are those that training draws.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks.common.records import write_record
from experiments.transitive.batches import Sampler, pair_data
from experiments.transitive.config import Config
from experiments.transitive.presets import PRESETS
from experiments.transitive.purity import false_negatives
from experiments.transitive.ranking import legal_negatives
from experiments.transitive.shards import Crops
from experiments.transitive.stages import make_stages
from experiments.transitive.truth import find_labels
from lars_jax.runs import run_stages
from lars_jax.train import Interrupt
from lars_jax.train.config import replace_fields, to_json

COMMAND = "python -m benchmarks.transitive.negatives"

BATCHES = (100, 400, 1600)
DRAWN = 20
"""Batches of each size and split."""


def main(
    file: Path,
    run_dir: Path,
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    record: bool = False,
) -> None:
    """Make what graphs are missing, count, and write the record if asked.

    Args:
        file: ETH-80.
        run_dir: where graphs are.
        seeds: of objects, weights and order.
        record: write `records/transitive_negatives.json`.
    """
    config = replace_fields(PRESETS["eth80"].config, videos=f"eth80:{file.absolute()}")
    runs = []
    with Interrupt() as interrupt:
        for seed in seeds:
            one = replace_fields(config, seed=seed)
            place = run_dir / f"seed-{seed}"
            stages = make_stages(one)
            wanted = [s for s in stages if s.name in ("track", "features", "graph")]
            run_stages(wanted, one, place, interrupt=interrupt)
            runs += counted(one, place)
    for row in runs:
        print(row)
    if record:
        said = to_json(replace_fields(config, videos="eth80:eth80.npz"))
        write_record("transitive_negatives", COMMAND, config=said, runs=runs)


def counted(config: Config, place: Path) -> Iterator[dict[str, Any]]:
    """Yield a row for each size of a batch: false negatives with and without a mask."""
    data = pair_data(place / "track", place / "graph")
    video = np.asarray(Crops(place / "track").index["video"])
    labels = find_labels({"track": place / "track"}, video)
    assert labels is not None, "photographs are labelled"
    # Nodes are all seeds and then all ends.
    category = np.concatenate([labels.category[::2], labels.category[1::2]])
    for batch in BATCHES:
        sampler = Sampler.create(data, replace(config.triplet, global_batch=batch))
        rows = [of_batch(sampler, category, step) for step in range(DRAWN)]
        means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        yield {"seed": config.seed, "batch": batch, "drawn": DRAWN, **means}


def of_batch(sampler: Sampler, category: np.ndarray, step: int) -> dict[str, float]:
    """Return shares and counts of a batch."""
    drawn = sampler.batch(0, step)
    parent, place = jnp.asarray(drawn["parent"]), jnp.asarray(drawn["place"])
    found = {}
    for words, aware in (("", False), ("_of_other_parents", True)):
        legal = np.asarray(legal_negatives(parent, place, other_parents=aware))
        share = false_negatives(category[drawn["node"]], legal)
        # Of an anchor, the mean: both ends of each pair that gives it any.
        count = 2 * float(legal.sum(axis=1).mean())
        found |= {
            f"share{words}": share,
            f"false{words}": share * count,
            f"negatives{words}": count,
        }
    return found


if __name__ == "__main__":
    tyro.cli(main)
