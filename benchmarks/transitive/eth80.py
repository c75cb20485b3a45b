"""Kinds of pairs on ETH-80: what unseen objects are recognised by, from far sides.

    python -m benchmarks.transitive.eth80 --file eth80.npz --run-dir DIR --record

Each seed holds out other objects, three of ten of each category, which no stage but
evaluation sees, and draws other weights. What is stopped goes on, in its directory or
from the record, which has what there is after each seed. Two processes may share the
seeds, each in a directory of its own.
"""

from collections.abc import Iterable
from pathlib import Path

import tyro

from benchmarks.common.records import write_record
from benchmarks.transitive.runs import begin, joined, recorded
from experiments.transitive.compare import RESULTS, VARIANTS, Cells, markdown, run_cells
from experiments.transitive.presets import PRESETS
from lars_jax.train import Interrupt
from lars_jax.train.config import replace_fields, to_json
from lars_jax.train.record import read_lines

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
    f"{size} pixels, {steps:,} steps{more}": {
        "image_size": size,
        "steps": steps,
        **fields,
    }
    for size, steps, more, fields in (
        (32, 500, "", {}),
        (32, 500, ", from context", {"init": "context"}),
        (32, 1500, "", {}),
        (48, 500, "", {}),
        (48, 500, ", parts and colours", VARIED),
        (48, 1500, "", {}),
    )
}
"""What the recipe may be, compared on objects split off from those to learn from."""

CELLS = [*PAIRS, *CONTEXT, *RECIPE, *CHOICES]


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
    config = replace_fields(
        PRESETS["eth80"].config, videos=f"eth80:{file.absolute()}", tuning=choose
    )
    # The path says where the file lay, not what was found.
    said = replace_fields(config, videos="eth80:eth80.npz")
    if choose:
        name, groups = f"{NAME}_choice", choices(seeds)
    else:
        name, groups = NAME, comparisons(seeds)
    begin(run_dir, recorded(name, said))
    with Interrupt() as interrupt:
        for cells, seed in groups:
            run_cells(config, cells, (seed,), run_dir, interrupt=interrupt)
            found = list(read_lines(run_dir / RESULTS))
            rows = joined(recorded(name, said), found, CELLS)
            print(markdown(rows), flush=True)
            if record:
                write_record(name, COMMAND, config=to_json(said), runs=rows)


def comparisons(seeds: tuple[int, ...]) -> Iterable[tuple[Cells, int]]:
    """Yield what is reported, by cells that run one after another of a seed."""
    for cells, some in (
        (PAIRS, seeds),
        ({"from context": CONTEXT["from context"]}, seeds),
        (CONTEXT, seeds[:FEWER]),
        (RECIPE, seeds[:FEWER]),
    ):
        for seed in some:
            yield cells, seed


def choices(seeds: tuple[int, ...]) -> Iterable[tuple[Cells, int]]:
    """Yield what is chosen from, one cell after another, the preset's first."""
    for cell, fields in CHOICES.items():
        for seed in seeds:
            yield {cell: fields}, seed


if __name__ == "__main__":
    tyro.cli(main)
