"""Kinds of pairs on ETH-80: what unseen objects are recognised by, from far sides.

    python -m benchmarks.transitive.eth80 --file eth80.npz --run-dir DIR --record

Each seed holds out other objects, three of ten of each category, which no stage but
evaluation sees, and draws other weights. What is stopped goes on, in its directory or
from the record, which has what there is after each seed.
"""

from pathlib import Path
from typing import Any

import tyro

from benchmarks.common.records import read_record, record_path, write_record
from experiments.transitive.compare import RESULTS, VARIANTS, markdown, run_cells
from experiments.transitive.config import Config
from experiments.transitive.presets import PRESETS
from lars_jax.files import make_directory
from lars_jax.train import Interrupt
from lars_jax.train.config import replace_fields, to_json
from lars_jax.train.record import append_row, read_lines

COMMAND = "python -m benchmarks.transitive.eth80"
NAME = "transitive_eth80"

PAIRS = {name: VARIANTS[name] for name in VARIANTS if name != "multi-task"}
"""Kinds of pairs."""

CONTEXT = {"multi-task": VARIANTS["multi-task"], "from context": {"init": "context"}}
"""With context prediction beside the ranking, or before it."""

FEWER = 3
"""Seeds of these and of the recipe, where two cores carry no more."""

VARIED = {"least_part": 0.65, "colour_jitter": 0.3}
"""Random parts and colours of the images that are trained on."""

RECIPE = {
    "one random negative": {"negatives": "random"},
    "random parts and colours": VARIED,
    "no last ReLU": {"last_relu": False},
    "48 pixels": {"image_size": 48},
    "three times as long": {"steps": 1500},
}
"""What of the recipe for "transitive + intra" matters, one change at a time."""

CHOICES = {
    f"{size} pixels, {steps:,} steps{', parts and colours' * bool(varied)}": {
        "image_size": size,
        "steps": steps,
        **varied,
    }
    for size, steps, varied in (
        (48, 500, VARIED),
        (48, 500, {}),
        (48, 1500, {}),
        (32, 500, {}),
        (32, 1500, {}),
    )
}
"""What the recipe may be, compared on objects split off from those to learn from."""


def main(
    file: Path,
    run_dir: Path,
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    choose: bool = False,
    record: bool = False,
) -> None:
    """Run what is missing, print a table, and write the record if asked.

    Args:
        file: ETH-80, as `experiments.transitive.eth80` reads it.
        run_dir: where runs are.
        seeds: of objects, weights and order.
        choose: compare `CHOICES` instead, on objects split off from the training ones.
        record: write `records/transitive_eth80.json`, of choices
            `records/transitive_eth80_choice.json`.
    """
    config = replace_fields(PRESETS["eth80"].config, videos=f"eth80:{file.absolute()}")
    # The path says where the file lay, not what was found.
    said = to_json(replace_fields(config, videos="eth80:eth80.npz"))
    if choose:
        compare_choices(config, run_dir, seeds, said if record else None)
        return
    take_recorded(said, run_dir)
    rows = []
    with Interrupt() as interrupt:
        for cells, some in (
            (PAIRS, seeds),
            (CONTEXT, seeds[:FEWER]),
            (RECIPE, seeds[:FEWER]),
        ):
            for seed in some:
                rows += run_cells(config, cells, (seed,), run_dir, interrupt=interrupt)
                print(markdown(rows), flush=True)
                if record:
                    write_record(NAME, COMMAND, config=said, runs=known(run_dir))


def compare_choices(
    config: Config, run_dir: Path, seeds: tuple[int, ...], said: dict[str, Any] | None
) -> None:
    """Run what is missing of the choices; write what is `said` of them to a record."""
    config = replace_fields(config, tuning=True)
    with Interrupt() as interrupt:
        for seed in seeds:
            run_cells(config, CHOICES, (seed,), run_dir, interrupt=interrupt)
            rows = known(run_dir)
            print(markdown(rows), flush=True)
            if said is not None:
                write_record(f"{NAME}_choice", COMMAND, config=said, runs=rows)


def known(run_dir: Path) -> list[dict[str, Any]]:
    """Return what has been run, in whatever order."""
    return list(read_lines(run_dir / RESULTS))


def take_recorded(config: dict[str, Any], run_dir: Path) -> None:
    """Begin a directory with the runs of the record, if it is of this configuration."""
    results = run_dir / RESULTS
    if results.exists() or not record_path(NAME).exists():
        return
    found = read_record(NAME)
    if found["config"] == config:
        make_directory(run_dir)
        for row in found["runs"]:
            append_row(results, row)


if __name__ == "__main__":
    tyro.cli(main)
