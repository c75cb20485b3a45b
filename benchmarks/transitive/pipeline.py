"""Time and rate of the stages of finished pipelines, and what they would cost at scale.

    python -m benchmarks.transitive.pipeline demo=runs/demo paper=runs/paper --record

Rates are those of the last start of each stage. The network of the paper is timed here,
on crops of 96 pixels.
"""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks.common.records import write_record
from experiments.transitive.config import ModelConfig, TripletConfig
from experiments.transitive.context_network import context_network
from experiments.transitive.networks import triplet_network
from experiments.transitive.records import counts, read_records
from experiments.transitive.results import stage_times
from lars_jax.models import Network
from lars_jax.runs import read_run
from lars_jax.train.record import read_json

COMMAND = "python -m benchmarks.transitive.pipeline"


def main(runs: tyro.conf.Positional[tuple[str, ...]], record: bool = False) -> None:
    """Print what stages took, and write the record if asked.

    Args:
        runs: NAME=DIRECTORY of each pipeline.
        record: write `records/transitive_pipeline.json`.
    """
    rows = []
    for run in runs:
        name, _, place = run.partition("=")
        rows += stage_rows(name, Path(place))
    for row in rows:
        print(row)
    network = network_rates()
    print(network)
    if record:
        write_record("transitive_pipeline", COMMAND, runs=rows, network=network)


def network_rates(batch: int = 32, rounds: int = 3) -> dict[str, float]:
    """Return images a second of VGG16 and its heads at the paper's sizes.

    Args:
        batch: images, or patches, in a call.
        rounds: calls of which the median counts.

    Returns:
        `forward` and `training` of the triplet network, and `context`, patches a second
        in the training of the context network.
    """
    triplet = triplet_network(ModelConfig(), TripletConfig())
    images = jnp.ones((batch, 96, 96, 3))
    pairs = images.reshape(batch // 2, 2, *images.shape[1:])
    context = context_network(ModelConfig())

    def rate(network: Network, shown: jax.Array, *, trained: bool) -> float:
        params, state = jax.jit(lambda: network.init(jax.random.key(0), shown))()

        def loss(params: Any, shown: jax.Array) -> jax.Array:
            return jnp.sum(network.apply(params, state, shown, train=True)[0])

        function = jax.grad(loss) if trained else loss
        compiled = jax.jit(function).lower(params, shown).compile()
        jax.block_until_ready(compiled(params, shown))
        seconds = []
        for _ in range(rounds):
            began = time.perf_counter()
            jax.block_until_ready(compiled(params, shown))
            seconds.append(time.perf_counter() - began)
        return batch / float(np.median(seconds))

    return {
        "forward": rate(triplet, images, trained=False),
        "training": rate(triplet, images, trained=True),
        "context": rate(context, pairs, trained=True),
    }


def stage_rows(name: str, directory: Path) -> list[dict[str, Any]]:
    """Return a row for each stage that a pipeline has run.

    Args:
        name: what it is called.
        directory: of the pipeline.
    """
    config = read_run(directory)["config"]
    rows = []
    for stage, found in stage_times(directory).items():
        row = {"run": name, "stage": stage, **found}
        if stage in ("mine", "track") and (directory / stage / "videos.json").exists():
            row["counts"] = counts(read_records(directory / stage))
            row["videos"] = len(read_records(directory / stage))
        if stage == "frames":
            images = (directory / stage).glob("train/frame/*")
            row["bytes"] = sum(path.stat().st_size for path in images)
        if stage == "mine":
            row["size"] = [
                config["mining"]["frame_width"],
                config["mining"]["frame_height"],
            ]
        if stage == "track" and found["amount"]:
            crops = np.load(directory / "track" / "index.npy", mmap_mode="r")
            row["bytes_per_crop"] = float(crops["length"].mean())
            row["crop"] = config["tracking"]["crop"]
        if stage == "graph":
            row["counts"] = read_json(directory / "graph" / "counts.json")
        rows.append(row)
    return rows


if __name__ == "__main__":
    tyro.cli(main)
