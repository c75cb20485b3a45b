"""The tables of docs/transfer.md."""

import statistics
from collections.abc import Collection, Iterable

from benchmarks.common.markdown import Row, grouped, origin, plain, table
from benchmarks.common.records import mean_sd, read_record
from benchmarks.transitive.tasks import NAME as TASKS
from experiments.transitive.normals.metrics import NAMES
from experiments.transitive.normals.results import GUESSES
from experiments.transitive.transfer.tables import TABLES, markdown
from lars_jax.report import half_interval


def detectors() -> str:
    """Return the scores of detectors over training, beside a guess."""
    record = read_record(TASKS)
    rows, steps = [], []
    cells = {cell: runs for (cell,), runs in grouped(record["runs"], "cell").items()}
    for cell, runs in cells.items():
        if "eval/ap50" not in runs[0]["evaluations"][0]:
            continue
        found = [[one["eval/ap50"] for one in run["evaluations"]] for run in runs]
        steps = [f"{one['step']:,} steps" for one in runs[0]["evaluations"]]
        row = dict(zip(steps, map(list, zip(*found, strict=True)), strict=True))
        row |= {"detector": cell, "n": len(runs)}
        drawn = _scores(cells.get(f"{cell} on untrained features", []))
        own = _scores(runs)
        ahead = [own[seed] - drawn[seed] for seed in own if seed in drawn]
        row |= {"interval": _interval(own.values()), "ahead": _interval(ahead)}
        row["guess"] = [run["baseline"]["baseline/same_box/ap50"] for run in runs]
        rows.append(row)
    shown = {"detector": "{detector}", "the mean box": "{guess:.1f %}"}
    shown |= {step: f"{{{step}:.1f %}}" for step in steps}
    shown |= {"95 % interval": "{interval}", "ahead of untrained": "{ahead}"}
    shown["n"] = "{n}"
    note = (
        "AP50 in percent, mean and deviation of seeds; the 95 % interval of the mean, "
        "and of how far it is ahead, seed by seed. "
    )
    return table(shown, rows, record, note)


def _scores(runs: Iterable[Row]) -> dict[int, float]:
    """Return the score at the end of training by seed."""
    return {run["seed"]: run["evaluations"][-1]["eval/ap50"] for run in runs}


def _interval(values: Collection[float]) -> str:
    """Return the interval of a mean in percent, nothing of fewer than two values."""
    if len(values) < 2:
        return ""
    mean, half = statistics.fmean(values), half_interval(list(values))
    return f"{100 * (mean - half):.1f} to {100 * (mean + half):.1f}"


def normals() -> str:
    """Return how far normals are from the truth, beside guesses."""
    record = read_record(TASKS)
    rows = []
    for runs in grouped(record["runs"], "cell").values():
        if "eval/mean" not in runs[0]["evaluations"][0]:
            continue
        for guess, name in GUESSES.items():
            of = f"baseline/{guess}/"
            rows.append({"of": name} | _angles([run["baseline"] for run in runs], of))
        for last in zip(*[run["evaluations"] for run in runs], strict=True):
            of = f"`small` from scratch, {last[0]['step']:,} steps"
            rows.append({"of": of, "n": len(runs)} | _angles(last, "eval/"))
    cells = {"": "{of}"}
    cells |= {name.replace("_", " "): f"{{{_key(name)}:.1f}}" for name in NAMES}
    return table(cells | {"n": "{n}"}, rows, record, "Mean and deviation of seeds. ")


def _angles(rows: Iterable[Row], prefix: str) -> dict[str, list[float]]:
    return {_key(name): [row[prefix + name] for row in rows] for name in NAMES}


def _key(name: str) -> str:
    # A format would look for a part behind a point.
    return name.replace(".", "_")


def transfer_tables() -> str:
    """Return the paper's tables with what was found here beside its numbers."""
    record = read_record("transitive_transfer")
    note = "Mean, deviation and number of seeds. "
    tables = "\n".join(markdown(number, record["runs"]) for number in TABLES)
    return f"{tables}\n{origin(record, note)}"


def transfer_baselines() -> str:
    """Return what a guess that looks at no picture scores on the same sets."""
    runs = read_record("transitive_transfer")["runs"]
    lines = ["| guess | score |", "|---|---|"]
    for name, title, factor in (
        ("same_box/ap50", "the mean box of training, on every picture: AP50 (%)", 100),
        ("mean_normal/mean", "the mean normal: mean error (degrees)", 1),
        ("commonest/mean", "the commonest codeword: mean error (degrees)", 1),
    ):
        of = f"baseline/{name}"
        # The same for every run of a seed.
        found = {r["seed"]: r["baseline"][of] for r in runs if of in r["baseline"]}
        if found:
            mean, sd = mean_sd([factor * value for value in found.values()])
            spread = f"{sd:.1f}, " if len(found) > 1 else ""
            lines.append(f"| {title} | {mean:.1f} ({spread}n {len(found)}) |")
    return "\n".join(lines)


def detector_throughput() -> str:
    """Return the table of a detector's pictures a second, and where its time goes."""
    record = read_record("detector_throughput")
    rows = []
    for run in record["runs"]:
        took = {part: found["median"] for part, found in run["seconds"].items()}
        whole = took["step"]
        shares = {
            "convolutions": took["convolutions"] / whole,
            "beyond": (took["gradients"] - took["convolutions"]) / whole,
            "optimizer": (whole - took["gradients"]) / whole,
            "reading": took["reading"] / whole,
        }
        rows.append({**run, **shares})
    cells = plain("detector") | {
        "pictures a second": "{pictures_per_second:.1f all}",
        "convolutions %": "{convolutions:.0f %}",
        "proposals, pooling, head, losses %": "{beyond:.0f %}",
        "optimizer %": "{optimizer:.0f %}",
        "batches, beside it %": "{reading:.1f %}",
    }
    return table(cells, rows, record, "Medians of five rounds. ")
