"""The tables of docs/transitive.md."""

from typing import Any

from benchmarks.common.markdown import grouped, plain, table
from benchmarks.common.records import read_record
from benchmarks.transitive.batch import (
    BATCHES,
    MEASURE,
    NEGATIVES,
    RATES,
    interactions,
)
from benchmarks.transitive.eth80 import CONTEXT, PAIRS
from experiments.transitive.compare import summarise
from experiments.transitive.config import MiningConfig
from experiments.transitive.mining import LOOKED_AT
from experiments.transitive.presets import PRESETS
from experiments.transitive.shards import INDEX

VIDEOS = 100_000
FRAMES = 5_000
"""Frames of a video, about three minutes."""

TRACKS = 50
"""Tracks of a video: ten million crops of all, as in the paper."""

IMAGES = 200_000 * 100
"""That the triplet network of the paper is trained on."""

DAY = 86_400

PAPER = PRESETS["paper"].config

CONVOLUTIONS = 14_714_688
"""Parameters of VGG16's."""

FEATURES = {"trained": "convolutions", "trained, head": "output"}
"""Features of a run by what a table calls them."""


def transitive_stages() -> str:
    """Return the table of what the stages of three pipelines took."""
    record = read_record("transitive_pipeline")
    rows = [
        {**row, "rate": row["amount"] / row["seconds"] if row["unit"] else None}
        for row in record["runs"]
        if row["stage"] != "videos" or row["run"] == "demo"
    ]
    cells = plain("run", "stage") | {
        "seconds": "{seconds:.1f}",
        "amount": "{amount:,} {unit}",
        "a second": "{rate:,.1f}",
    }
    note = "One run each, context prediction for 100 steps. "
    return table(cells, rows, record, note)


def transitive_cost() -> str:
    """Return the table of what 100,000 videos would cost, on paper."""
    record = read_record("transitive_pipeline")
    stages = {(row["run"], row["stage"]): row for row in record["runs"]}

    def rate(stage: str) -> float:
        row = stages["paper", stage]
        return row["amount"] / row["seconds"]

    graph = max(read_record("transitive_graph")["runs"], key=lambda run: run["nodes"])
    nodes = graph["nodes"] / sum(graph["seconds"].values())
    seeds, network = VIDEOS * TRACKS, record["network"]
    crop = stages["paper", "track"]["bytes_per_crop"]
    looked_at = VIDEOS * FRAMES / MiningConfig().stride * LOOKED_AT.itemsize
    # That of each video, and that of all.
    index = 2 * seeds * INDEX.itemsize
    photographs = stages["paper", "frames"]
    shown = VIDEOS * PAPER.frames.most_frames
    patches = 2 * PAPER.context.context_steps * PAPER.context.context_batch
    amounts: list[tuple[str, float, str, float, float]] = [
        ("mine", VIDEOS * FRAMES, "frames", rate("mine"), looked_at),
        ("track", seeds, "tracks", rate("track"), 2 * seeds * crop + 2 * index),
        (
            "frames",
            shown,
            "photographs",
            rate("frames"),
            shown * photographs["bytes"] / photographs["amount"],
        ),
        ("context", patches, "patches", network["context"], CONVOLUTIONS * 4),
        ("features", seeds, "seeds", network["forward"], seeds * 4608 * 2),
        ("graph", seeds, "seeds", nodes, 9e6 * (2 * 8 + 1) + 2 * seeds * 4),
        ("triplet", IMAGES, "images", network["training"], 37_788_480 * 4),
    ]
    rows = [
        {
            "stage": stage,
            "amount": f"{amount:,.0f} {unit}",
            "rate": f"{speed:,.1f}",
            "days": amount / speed / DAY,
            "disk": bytes_ / 1e9,
        }
        for stage, amount, unit, speed, bytes_ in amounts
    ]
    cells = plain("stage", "amount") | {
        "a second, two cores": "{rate}",
        "days of two cores": "{days:,.2f}",
        "disk in GB": "{disk:,.1f}",
    }
    return table(cells, rows, record, "One measurement each. ")


def transitive_graph() -> str:
    """Return the table of clustering and graph by the number of nodes."""
    record = read_record("transitive_graph")
    rows = [
        {
            "nodes": run["nodes"],
            "largest_parent": run["largest_parent"],
            "child": run["counts"]["cliques"],
            **run["seconds"],
            "memory": run["peak_mebibytes"],
        }
        for run in record["runs"]
    ]
    last = rows[-1]
    factor = 1e7 / last["nodes"]
    parts = ("kmeans", "assign", "neighbours", "cliques", "pairs")
    total = sum(last[part] for part in parts) * factor
    cells = {
        "nodes": "{nodes:,}",
        "largest parent": "{largest_parent:,}",
        "child clusters": "{child:,}",
        **{f"{part}, s": f"{{{part}:.1f}}" for part in parts},
        "peak MiB": "{memory:,.0f}",
    }
    note = (
        f"Along the line from {last['nodes']:,}: {total / 60:,.0f} minutes for ten "
        "million nodes, in the memory of one parent and of what counts nodes. "
    )
    return table(cells, rows, record, note)


def transitive_recall() -> str:
    """Return the table of what inverted files and components lose."""
    return _losses(read_record("transitive_graph"))


def transitive_components() -> str:
    """Return the same table of components of real features."""
    return _losses(read_record("transitive_components"))


def _losses(record: dict[str, Any]) -> str:
    cells = {
        "neighbours by": "{value} {what}",
        "seconds": "{seconds:.1f}",
        "recall": "{recall:.4f}",
        "child clusters lost, %": "{lost:.1f %}",
        "new ones, %": "{new:.1f %}",
    }
    rows = [{**row, "value": f"{row['value']:,}"} for row in record["losses"]]
    note = f"{record['sample']:,} samples of {record['dimensions']:,} values. "
    return table(cells, rows, record, note)


def transitive_eth80() -> str:
    """Return the table of features by the pairs that shaped them."""
    record = read_record("transitive_eth80")
    asked = {*PAIRS, *CONTEXT}
    runs = [run for run in record["runs"] if run["cell"] in asked]
    return _features(record, runs)


def transitive_choice() -> str:
    """Return the table of recipes compared on objects split off."""
    # Of an earlier preset, which began with 48 pixels, parts and colours.
    record = read_record("transitive_eth80_first_choice")
    return _features(record, record["runs"])


def transitive_start() -> str:
    """Return the same of the preset, and of convolutions from context prediction."""
    record = read_record("transitive_eth80_choice")
    return _features(record, record["runs"])


def transitive_recipe() -> str:
    """Return the table of what of the recipe matters, on the same splits."""
    record = read_record("transitive_eth80")
    ours = _nearest(record["runs"], "transitive + intra")
    # What a record has is what it was made with, whatever is asked today.
    changes = dict.fromkeys(run["cell"] for run in record["runs"])
    rows = []
    for cell in [name for name in changes if name not in {*PAIRS, *CONTEXT}]:
        found = _nearest(record["runs"], cell)
        row: dict[str, Any] = {"change": cell, "n": len(found)}
        for kind in FEATURES:
            pairs = [(found[seed][kind], ours[seed][kind]) for seed in found]
            row[kind] = [100 * changed for changed, _ in pairs]
            row[f"more {kind}"] = [100 * (changed - own) for changed, own in pairs]
        rows.append(row)
    cells = plain("change", "n")
    for kind, words in FEATURES.items():
        cells[f"{words}, %"] = f"{{{kind}:.1f}}"
        cells[f"{words}, change"] = f"{{more {kind}:.1f}}"
    return table(cells, rows, record, "Five nearest; mean ± sd of n splits. ")


def _nearest(runs: list[dict[str, Any]], cell: str) -> dict[int, dict[str, float]]:
    """Return shares of a cell by nearest neighbours, of each seed and feature."""
    return {
        run["seed"]: {
            kind: run["evaluation"]["photographs"][kind]["nearest"] for kind in FEATURES
        }
        for run in runs
        if run["cell"] == cell
    }


def transitive_pairs() -> str:
    """Return the table of how far clusters and pairs are of one category."""
    record = read_record("transitive_eth80")
    first = {run["seed"]: run for run in record["runs"]}
    graphs = [run["evaluation"]["graph"] for run in first.values()]
    counts = [run["counts"] for run in first.values()]
    rows: list[dict[str, Any]] = [
        {"what": "by chance", "same": [graph["chance"] for graph in graphs]},
        {"what": "parents", "same": [graph["parents"] for graph in graphs]},
    ]
    rows += [
        {
            "what": f"{kind} pairs",
            "same": [graph["pairs"][kind]["same"] for graph in graphs],
            "count": [count[kind] for count in counts],
        }
        for kind in ("inter", "intra", "transitive")
    ]
    rows += [
        {
            "what": f"negatives of {words}",
            "same": [graph["false negatives"][kind] for graph in graphs],
        }
        for kind, words in (("aware", "other parents"), ("blind", "any parent"))
    ]
    cells = {
        "what": "{what}",
        "number": "{count:.0f}",
        "same category, %": "{same:.1f}",
    }
    for row in rows:
        row["same"] = _percent(row["same"])
    return table(cells, rows, record, f"Mean ± sd of n = {len(graphs)} splits. ")


def transitive_negatives() -> str:
    """Return the table of false negatives by batch, with and without parents."""
    record = read_record("transitive_negatives")
    rows = []
    for (batch,), own in grouped(record["runs"], "batch").items():
        columns = {name: [run[name] for run in own] for name in own[0]}
        shares = ("share", "share_of_other_parents")
        rows.append(
            columns
            | {"batch": batch}
            | {name: [100 * share for share in columns[name]] for name in shares}
        )
    cells = plain("batch") | {
        "negatives": "{negatives:.0f}",
        "false, %": "{share:.1f}",
        "false": "{false:.1f}",
        "of other parents": "{negatives_of_other_parents:.0f}",
        "of these false, %": "{share_of_other_parents:.1f}",
        "of these false": "{false_of_other_parents:.1f}",
    }
    seeds = len({run["seed"] for run in record["runs"]})
    drawn = record["runs"][0]["drawn"]
    note = f"An anchor's. Mean ± sd of n = {seeds} splits, {drawn} batches of each. "
    return table(cells, rows, record, note)


def transitive_context() -> str:
    """Return what context prediction gets right on photographs left out one by one."""
    record = read_record("transitive_context")
    curves = [run["curve"] for run in record["runs"]]
    steps = sorted({int(step) for step in curves[0]})
    rows = [
        {
            "images": 2 * step * record["config"]["context"]["context_batch"],
            "step": step,
            "accuracy": [100 * curve[str(step)] for curve in curves],
        }
        for step in steps[len(steps) // 5 - 1 :: len(steps) // 5]
    ]
    cells = plain("step") | {
        "patches": "{images:,}",
        "right, % (chance 12.5)": "{accuracy:.1f}",
    }
    of = record["photographs"]
    note = (
        f"{record['pairs']:,} pairs of {of['held_out']} photographs left out one by "
        f"one, after learning from {of['learned_from']:,} others. Mean ± sd of n = "
        f"{len(curves)} seeds. "
    )
    return table(cells, rows, record, note)


def _features(record: dict[str, Any], runs: list[dict[str, Any]]) -> str:
    found = summarise(runs)
    rows = [
        {
            "features": name,
            "n": len(one["nearest"]),
            "nearest": _percent(one["nearest"]),
            "linear": _percent(one["linear"]),
            "mirrored": _percent(found.get(f"{name}, mirrored", one)["nearest"]),
        }
        for name, one in found.items()
        if not name.endswith(", mirrored") and one["nearest"]
    ]
    cells = plain("features", "n") | {
        "5 nearest, %": "{nearest:.1f}",
        "mirrored": "{mirrored:.1f}",
        "linear, %": "{linear:.1f}",
    }
    seeds = len({run["seed"] for run in runs})
    return table(
        cells, rows, record, f"Mean ± sd of n splits of objects, {seeds} in all. "
    )


def _percent(shares: list[float]) -> list[float]:
    return [100 * share for share in shares]


def transitive_batch() -> str:
    """Return the table of negatives x rule x batch, and of their interaction."""
    record = read_record("transitive_batch")
    shares: dict[str, list[float]] = {}
    for run in record["runs"]:
        share = run["evaluation"]["photographs"][MEASURE]["nearest"]
        shares.setdefault(run["cell"], []).append(100 * share)
    rows = [
        {
            "negatives": negatives.replace("_", " "),
            "rule": rule,
            "rate": record["rates"][rule],
            **{f"b{b}": shares.get(f"{negatives}, {b}, {rule}") for b in BATCHES},
        }
        for negatives in NEGATIVES
        for rule in RATES
        if any(f"{negatives}, {b}, {rule}" in shares for b in BATCHES)
    ]
    cells = plain("negatives", "rule", "rate")
    cells |= {f"{batch}, %": f"{{b{batch}:.1f}}" for batch in BATCHES}
    images = record["runs"][0]["images"]
    seeds = len({run["seed"] for run in record["runs"]})
    note = (
        f"Five nearest by the output, after {images:,} images; the rate of a batch of "
        f"400. Mean ± sd of n = {seeds} splits, of one where no sd stands. "
    )
    return table(cells, rows, record, note)


def transitive_interaction() -> str:
    """Return how much more a large batch costs with several negatives than with one."""
    record = read_record("transitive_batch")
    rows = [
        row | {"negatives": row["negatives"].replace("_", " ")}
        for row in interactions(record["runs"])
    ]
    cells = plain("negatives", "rule", "n") | {
        "interaction, points": "{mean:.1f %}",
        "standard error": "{standard_error:.1f %}",
    }
    return table(cells, rows, record)


def transitive_last_layer() -> str:
    """Return norm and trust ratio of the last layer, with and without weight decay."""
    record = read_record("transitive_batch")
    largest = f"all, {BATCHES[-1]}, lars"
    rows = []
    for cell, decay in (
        (largest, record["config"]["triplet"]["weight_decay"]),
        (f"{largest} without decay", 0.0),
    ):
        logs = [run["last_layer"] for run in record["runs"] if run["cell"] == cell]
        for when in zip(*logs, strict=True):
            rows.append(
                {
                    "decay": f"{decay:g}",
                    "step": when[0]["step"],
                    **{
                        name: [float(row[name]) for row in when]
                        for name in ("weight_norm", "gradient_norm", "trust_ratio")
                    },
                }
            )
    cells = {
        "weight decay": "{decay}",
        "step": "{step}",
        "norm of weights": "{weight_norm:.2f}",
        "norm of gradient": "{gradient_norm:.3f}",
        "trust ratio": "{trust_ratio:.4f}",
    }
    return table(cells, rows[:: max(1, len(rows) // 12)], record)
