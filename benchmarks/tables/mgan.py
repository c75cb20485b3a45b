"""The tables of docs/mgan.md."""

import itertools
import math
import statistics

from benchmarks.common.markdown import Cells, Row, grouped, plain, table
from benchmarks.common.records import read_record
from benchmarks.mgan.batch import GROUPS, REFERENCE, RULES

MEASURES = {
    "modes": ("modes", 1),
    "generators": ("distinct generators", 1),
    "purity": ("purity", 3),
    "symmetric_kl": ("symmetric KL", 2),
    "wasserstein": ("Wasserstein", 3),
    "average/wasserstein": ("Wasserstein, averaged", 3),
}
"""Columns of the tables of games: name among measures, heading, digits."""


def mgan_ring() -> str:
    """Return the table of Section 5.1's ring."""
    record = read_record("mgan_ring")
    floor = record["runs"][0]["floor"]
    floor = {name: f"{value:.3f}" for name, value in floor.items()}
    return _games(record, {}, [floor | {"preset": "true samples"}])


def mgan_harder() -> str:
    """Return the table of rings and grids with other numbers."""
    first = plain("data", "preset") | {"steps": "{steps:,}"}
    return _games(read_record("mgan_harder"), first, [])


def mgan_step() -> str:
    """Return the table of what a step costs."""
    record = read_record("mgan_step")
    cells = plain("what") | {
        "ratio": "{ratio:.2f}",
        "lowest to highest": "{ratio:.2f range}",
        "ms": "{over_seconds:.1f ms}",
        "over ms": "{under_seconds:.1f ms}",
    }
    note = f"Medians of n = {record['rounds']} alternating rounds. "
    return table(cells, record["rows"], record, note)


def mgan_batch() -> str:
    """Return the table of optimizers over batch sizes, at the rates chosen for each."""
    record = read_record("mgan_batch")
    chosen = record["chosen"]
    runs = [run for run in record["runs"] if run["rates"] == chosen[run["optimizer"]]]
    found = grouped(runs, "optimizer", "rule", "batch")
    sizes = sorted({size for _, _, size in found})
    rows = []
    for optimizer, rule in itertools.product(chosen, RULES):
        row = {"optimizer": optimizer, "rule": rule}
        for size in sizes:
            # At the batch they were chosen at, all rules are the same.
            taken = "same" if size == REFERENCE else rule
            row[f"at {size}"] = "; ".join(_ending(found[optimizer, taken, size]))
        rows.append(row)
    cells = plain("optimizer") | {"rates scale": "{rule}"}
    cells |= {f"batch {size:,}": f"{{at {size}}}" for size in sizes}
    count = len(found["adam", "same", REFERENCE])
    note = (
        f"Modes covered; Wasserstein distance. Mean ± sd of n = {count} seeds, "
        f"{record['seen']:,} real samples in every run. "
    )
    return table(cells, rows, record, note)


def mgan_batch_choice() -> str:
    """Return the table of the rates that each optimizer could choose from."""
    record = read_record("mgan_batch")
    rows = []
    for run in record["runs"]:
        if (run["batch"], run["seed"]) == (REFERENCE, 0):
            taken = run["rates"] == record["chosen"][run["optimizer"]]
            rates = f"**{run['rates']}**" if taken else run["rates"]
            modes, distance = _ending([run])
            rows.append(run | {"rates": rates, "modes": modes, "distance": distance})
    rows.sort(key=lambda row: [*GROUPS].index(row["optimizer"]))
    cells = {
        "optimizer": "{optimizer}",
        f"rates at {REFERENCE}": "{rates}",
        "modes": "{modes}",
        "Wasserstein": "{distance}",
    }
    return table(cells, rows, record, "n = 1. ")


def mgan_images() -> str:
    """Return the table of CIFAR-10 in features of a classifier of our own."""
    record = read_record("mgan_cifar10")
    test = record["test_images"]
    score = {"score": test["score_mean"], "score_sd": test["score_sd"]}
    final = {f"eval/average/{name}": value for name, value in score.items()}
    final["eval/distance"] = test["frechet_distance"]
    rows = [
        row
        | {"game": f"`{row['preset']}`"}
        | {
            "nearest": Cells().format(
                "{sample_distance:.1f} ({real_distance:.1f})", **row
            )
        }
        for row in record["games"]
    ]
    rows.append({"game": "10,000 test images", "final": final})
    cells = plain("game", "seed") | {
        "steps": "{config[steps]:,}",
        "distance": "{final[eval/distance]:.1f}",
        "distance, averaged": "{final[eval/average/distance]:.1f}",
        "score, averaged": "{final[eval/average/score]:.2f} ± "
        "{final[eval/average/score_sd]:.2f}",
        "to nearest training image (of real ones)": "{nearest}",
    }
    count = record["games"][0]["final"]["eval/count"]
    found = record["classifier"]
    note = (
        f"Distance and score in features of a {found['network']} of our own "
        f"({100 * found['accuracy']:.1f} % of the test images right), not an FID and "
        f"not an Inception score; {count:,.0f} samples, 10 splits, no resizing. "
    )
    return table(cells, rows, record, note)


def _games(record: Row, first: dict[str, str], last: list[Row]) -> str:
    rows = []
    for (data, preset), runs in grouped(record["runs"], "data", "preset").items():
        found = {name: [run["final"][name] for run in runs] for name in MEASURES}
        seconds = statistics.fmean(run["seconds"] for run in runs)
        found |= {"data": data, "preset": f"`{preset}`", "n": len(runs)}
        found["steps"] = runs[0]["steps"]
        rows.append(found | {"seconds": seconds})
    cells = first | plain("preset", "n")
    for name, (heading, digits) in MEASURES.items():
        cells[heading] = f"{{{name}:.{digits}f}}"
    cells["seconds"] = "{seconds:.0f}"
    return table(cells, [*rows, *last], record, "Mean ± sd of n seeds. ")


def _ending(runs: list[Row]) -> tuple[str, str]:
    """Return the modes that were covered and the distance, of some seeds."""
    modes, distances = (
        [run["final"][name] for run in runs] for name in ("modes", "wasserstein")
    )
    lost = sum(map(math.isnan, distances))
    end = f"{lost} of {len(runs)} diverged" if lost else "{1:.3f}"
    return Cells().format("{0:.1f}", modes), Cells().format(end, modes, distances)
