"""Play the games of the plane with several seeds, and record how they ended.

    python -m benchmarks.mgan.games ring --run-dir runs/ring
    python -m benchmarks.mgan.games harder --run-dir runs/harder --seeds 2

A run that is in the directory already is not played again, so that the games of a group
can be shared out: `python -m experiments.mgan compare ring --run-dir runs/ring` in one
shell, `... compare ring_gan --run-dir runs/ring` in another, then this command.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import tyro

from benchmarks.common.records import RECORDS, write_record
from experiments.mgan.compare import compare, read_result
from experiments.mgan.experiment import MGAN
from experiments.mgan.presets import get_preset

RING = (
    "ring_gan",
    "ring_unrolled",
    "ring_d2gan",
    "ring",
    "ring_no_diversity",
    "ring_tuned",
)
"""The four methods of Figure 2, then what is asked of MGAN besides."""

HARDER: Mapping[str, tuple[str, ...]] = {
    "eight modes": (
        "ring_gan_tuned",
        "ring_d2gan_tuned",
        "ring_literal",
        "ring_four_generators",
        "ring_sixteen_generators",
    ),
    "sixteen modes": ("ring_16",),
    "25 modes": ("grid_25_gan", "grid_25_ten_generators", "grid_25"),
    "eight modes of rising shares": ("ring_rising", "ring_rising_learned"),
}
"""Games on the same data, by what sets the data apart."""

FIGURES = ("evolution", "symmetric_kl", "wasserstein")


def main(
    group: tyro.conf.Positional[Literal["ring", "harder"]],
    run_dir: Path,
    seeds: int = 5,
) -> None:
    """Play a group of games and write its record.

    Args:
        group: the ring of Section 5.1, or harder data.
        run_dir: where runs are, or will be.
        seeds: runs of each game.
    """
    groups = {"eight modes": RING} if group == "ring" else HARDER
    rows = []
    for number, (data, names) in enumerate(groups.items()):
        place = run_dir if group == "ring" else run_dir / str(number)
        presets = {name: get_preset(name).config for name in names}
        status, _ = compare(MGAN, presets, seeds, place)
        if status:
            raise SystemExit(status)
        rows += [
            {"data": data, **read_result(place / name / str(seed), name, seed)}
            for name in names
            for seed in range(seeds)
        ]
        if group == "ring":
            for figure in FIGURES:
                target = RECORDS / f"mgan_ring_{figure}.svg"
                shutil.copy(place / f"{figure}.svg", target)
    command = f"python -m benchmarks.mgan.games {group} --run-dir runs/{group}"
    command += "" if seeds == 5 else f" --seeds {seeds}"
    print(write_record(f"mgan_{group}", command, runs=rows))


if __name__ == "__main__":
    tyro.cli(main)
