"""Context prediction on photographs: how often is the place of a patch known?

    python -m benchmarks.transitive.context --photographs FOLDER --run-dir DIR --record

One of eight answers is right, so chance is 12.5 %. A tenth of the photographs is left
out one by one, the same for every seed, though others may show the same scene; seeds
draw weights, patches and order.
"""

from pathlib import Path
from typing import Any

import tyro

from benchmarks.common.records import mean_sd, write_record
from experiments.transitive.config import Config
from experiments.transitive.context import PAIRS_PER_PHOTOGRAPH
from experiments.transitive.context_program import split_photographs
from experiments.transitive.learning import train_context
from experiments.transitive.presets import PRESETS
from lars_jax.data import folder_source
from lars_jax.files import make_directory
from lars_jax.runs.stages import LOG
from lars_jax.train import Interrupt
from lars_jax.train.config import replace_fields, to_json
from lars_jax.train.record import read_rows

COMMAND = "python -m benchmarks.transitive.context"

SHARED = {"jitter": 1, "width": 0.5}
"""What runs have beside the preset of small photographs: patches of 32 pixels, a gap of
8, and less jitter, by which so small a network in so few steps learns more."""


def main(
    photographs: Path,
    run_dir: Path,
    steps: int = 1500,
    seeds: tuple[int, ...] = (0, 1, 2),
    record: bool = False,
) -> None:
    """Run what is missing, print accuracies, and write the record if asked.

    Args:
        photographs: a folder data set; its classes do not matter.
        run_dir: where runs are.
        steps: of a run.
        seeds: of weights, patches and order.
        record: write `records/transitive_context.json`.
    """
    config = replace_fields(PRESETS["eth80"].config, context_steps=steps, **SHARED)
    learn, test = split_photographs({"train": folder_source(photographs, "train")})
    runs = []
    for seed in seeds:
        one = replace_fields(config, seed=seed)
        runs.append({"seed": seed} | accuracies(one, photographs, run_dir / str(seed)))
        print(runs[-1]["accuracy"], flush=True)
        if record:
            write_record(
                "transitive_context",
                COMMAND,
                config=to_json(config),
                photographs={"learned_from": len(learn), "held_out": len(test)},
                pairs=PAIRS_PER_PHOTOGRAPH * len(test),
                runs=runs,
            )
    mean, sd = mean_sd([run["accuracy"] for run in runs])
    print(f"{100 * mean:.1f} % ({100 * sd:.1f}), n = {len(runs)}")


def accuracies(config: Config, photographs: Path, directory: Path) -> dict[str, Any]:
    """Return the accuracy after the last step, and after each that was evaluated."""
    make_directory(directory)
    with Interrupt() as interrupt:
        train_context(config, {"frames": photographs}, directory, interrupt)
    rows = read_rows(directory / LOG / "run" / "metrics.jsonl")
    curve = {
        row["step"]: row["eval/accuracy"] for row in rows if "eval/accuracy" in row
    }
    return {"accuracy": curve[max(curve)], "curve": curve}


if __name__ == "__main__":
    tyro.cli(main)
