"""The tables of docs/mgan.md, made from records and presets."""

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.common.records import mean_sd, read_record
from benchmarks.mgan.batch import GROUPS, REFERENCE, RULES
from benchmarks.tables.markdown import lines, table
from experiments.mgan.presets import PRESETS

MEASURES = {
    "modes": ("modes", 1),
    "generators": ("distinct generators", 1),
    "purity": ("purity", 3),
    "symmetric_kl": ("symmetric KL", 2),
    "wasserstein": ("Wasserstein", 3),
    "average/wasserstein": ("Wasserstein, averaged", 3),
}
"""Columns of the tables of games: name among measures, heading, digits."""


def ring() -> str:
    """Return the table of Section 5.1's ring."""
    return _games("mgan_ring", with_data=False)


def harder() -> str:
    """Return the table of rings and grids with other numbers."""
    return _games("mgan_harder", with_data=True)


def step() -> str:
    """Return the table of what a step costs."""
    record = read_record("mgan_step")
    rows = [
        [
            row["what"],
            f"{row['ratio']['median']:.2f}",
            f"{row['ratio']['lowest']:.2f} to {row['ratio']['highest']:.2f}",
            f"{1000 * row['over_seconds']['median']:.1f}",
            f"{1000 * row['under_seconds']['median']:.1f}",
        ]
        for row in record["rows"]
    ]
    head = ["what", "ratio", "lowest to highest", "ms", "over ms"]
    note = f"Medians of n = {record['rounds']} alternating rounds. "
    return table(head, rows, record, note)


def batch() -> str:
    """Return the table of optimizers over batch sizes, at the rates chosen for each."""
    record = read_record("mgan_batch")
    found: dict[tuple[Any, ...], list[dict[str, float]]] = {}
    for run in record["runs"]:
        if run["rates"] == record["chosen"][run["optimizer"]]:
            key = run["optimizer"], run["rule"], run["batch"]
            found.setdefault(key, []).append(run["final"])
    sizes = sorted({size for _, _, size in found})
    rows = []
    for optimizer, rule in itertools.product(record["chosen"], RULES):
        # At the batch they were chosen at, all rules are the same.
        at = {REFERENCE: found[optimizer, "same", REFERENCE]}
        at |= {s: found[optimizer, rule, s] for s in sizes if s != REFERENCE}
        rows.append([optimizer, rule, *(_ending(at[size]) for size in sizes)])
    head = ["optimizer", "rates scale", *(f"batch {size:,}" for size in sizes)]
    count = len(found["adam", "same", REFERENCE])
    note = (
        f"Modes covered; Wasserstein distance. Mean ± sd of n = {count} seeds, "
        f"{record['seen']:,} real samples in every run. "
    )
    return table(head, rows, record, note)


def batch_choice() -> str:
    """Return the table of the rates that each optimizer could choose from."""
    record = read_record("mgan_batch")
    rows = []
    for run in record["runs"]:
        if (run["batch"], run["seed"]) == (REFERENCE, 0):
            taken = run["rates"] == record["chosen"][run["optimizer"]]
            rows.append(
                [
                    run["optimizer"],
                    f"**{run['rates']}**" if taken else run["rates"],
                    *_ending([run["final"]]).split("; "),
                ]
            )
    rows.sort(key=lambda row: [*GROUPS].index(row[0]))
    head = ["optimizer", f"rates at {REFERENCE}", "modes", "Wasserstein"]
    return table(head, rows, record, "n = 1. ")


def _ending(finals: Sequence[dict[str, float]]) -> str:
    modes = [final["modes"] for final in finals]
    distances = [final["wasserstein"] for final in finals]
    lost = sum(map(math.isnan, distances))
    if lost:
        return f"{_mean(modes, 1)}; {lost} of {len(finals)} diverged"
    return f"{_mean(modes, 1)}; {_mean(distances, 3)}"


def images() -> str:
    """Return the table of CIFAR-10 in features of a classifier of our own."""
    record = read_record("mgan_cifar10")
    rows = []
    for game in record["games"]:
        last = game["final"]
        rows.append(
            [
                f"`{game['preset']}`",
                str(game["seed"]),
                f"{game['config']['steps']:,}",
                f"{last['eval/distance']:.1f}",
                f"{last['eval/average/distance']:.1f}",
                f"{last['eval/average/score']:.2f} ± "
                f"{last['eval/average/score_sd']:.2f}",
                f"{game['sample_distance']:.1f} ({game['real_distance']:.1f})",
            ]
        )
    test = record["test_images"]
    score = f"{test['score_mean']:.2f} ± {test['score_sd']:.2f}"
    rows.append(
        ["10,000 test images", "", "", f"{test['frechet_distance']:.1f}", "", score, ""]
    )
    head = [
        "game",
        "seed",
        "steps",
        "distance",
        "distance, averaged",
        "score, averaged",
        "to nearest training image (of real ones)",
    ]
    count = record["games"][0]["final"]["eval/count"]
    found = record["classifier"]
    note = (
        f"Distance and score in features of a {found['network']} of our own "
        f"({100 * found['accuracy']:.1f} % of the test images right), not an FID and "
        f"not an Inception score; {count:,.0f} samples, 10 splits, no resizing. "
    )
    return table(head, rows, record, note)


def presets() -> str:
    """Return the table of all presets."""
    rows = [
        [
            f"`{name}`",
            preset.reproduces,
            preset.expected,
            preset.status,
            preset.note,
        ]
        for name, preset in PRESETS.items()
    ]
    return lines(["preset", "reproduces", "expected", "status", "note"], rows)


def _games(name: str, *, with_data: bool) -> str:
    record = read_record(name)
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in record["runs"]:
        groups.setdefault((run["data"], run["preset"]), []).append(run)
    rows = []
    for (data, preset), runs in groups.items():
        cells = [
            _mean([run["final"][key] for run in runs], digits)
            for key, (_, digits) in MEASURES.items()
        ]
        seconds = statistics.fmean(run["seconds"] for run in runs)
        place = [data] if with_data else []
        rows.append([*place, f"`{preset}`", str(len(runs)), *cells, f"{seconds:.0f}"])
    if not with_data:
        floor = record["runs"][0]["floor"]
        cells = [f"{floor[key]:.3f}" if key in floor else "" for key in MEASURES]
        rows.append(["true samples", "", *cells, ""])
    headings = [heading for heading, _ in MEASURES.values()]
    head = [*(["data"] if with_data else []), "preset", "n", *headings, "seconds"]
    return table(head, rows, record, "Mean ± sd of n seeds. ")


def _mean(values: Sequence[float], digits: int) -> str:
    mean, sd = mean_sd(values)
    spread = f" ± {sd:.{digits}f}" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{spread}"
