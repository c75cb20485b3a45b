"""The tables of docs/large_batches.md."""

import math
import statistics
from collections.abc import Iterable

from benchmarks.common.markdown import Row, columns, grouped, origin, table
from benchmarks.common.records import read_record
from benchmarks.lars.layer_norms import BATCHES, PAPER, bias_gradient
from benchmarks.lars.layer_norms_networks import DEPARTURES, NETWORKS
from benchmarks.lars.paper_figures import LONGER
from experiments.lars.config import Grid
from experiments.lars.presets import get_preset
from experiments.lars.presets.paper import TABLE_3B, TABLE_5
from experiments.lars.summary import comparison_tables, score
from lars_jax.optim import rate_for_batch
from lars_jax.train.config import from_json

KINDS = ("kernel", "bias")


def compare() -> str:
    """Return the table of a comparison of optimizers over batch sizes."""
    return _comparison("digits")


def compare_fashion_mnist() -> str:
    """Return the table of the comparison on Fashion-MNIST, as far as it has come."""
    return _comparison("fashion_mnist")


def compare_cifar10_resnet8() -> str:
    """Return the table of the comparison on CIFAR-10."""
    return _comparison("cifar10_resnet8")


def rates_by_rule() -> str:
    """Return what `rate_for_batch` gives beside the rates that tuning found best."""
    tried = grouped(
        [
            run
            for run in read_record("compare_fashion_mnist")["runs"]
            if run["phase"] == "tune" and run["optimizer"] in ("lars", "mlperf_scaled")
        ],
        "optimizer",
        "global_batch",
    )
    rows = []
    for (name, batch), runs in tried.items():
        rule = rate_for_batch(batch)
        best = max(runs, key=score)
        near = min(runs, key=lambda run: abs(math.log(run["rate"] / rule)))
        row = {"optimizer": name, "batch": batch, "rule": rule, "best": best["rate"]}
        row |= {"near": near["rate"], "times": best["rate"] / rule}
        row["lost"] = best["accuracy"] - near["accuracy"]
        rows.append(row)
    cells = {"optimizer": "{optimizer}", "batch": "{batch:,}", "rule": "{rule:.1f}"}
    cells |= {"best of those tried": "{best:.1f}", "times the rule": "{times:.1f}"}
    cells |= {"tried next to the rule": "{near:.1f}", "points lost": "{lost:.1f %}"}
    return columns(cells, rows)


def longer() -> str:
    """Return the accuracy of the largest batch over epochs, beside Table 5."""
    record = read_record("fashion_mnist_paper")
    rows = []
    # Table 5's first column is a row of Table 3b.
    theirs = {100: TABLE_3B[-1].accuracy} | TABLE_5
    for preset, (epochs, paper) in zip(LONGER, theirs.items(), strict=True):
        runs = [run for run in record["runs"] if run["preset"] == preset]
        row = {"epochs": get_preset(preset).config.epochs, "steps": runs[0]["steps"]}
        row |= {"accuracy": [run["accuracy"] for run in runs], "n": len(runs)}
        rows.append(row | {"theirs": epochs, "paper": paper})
    cells = {"epochs": "{epochs}", "steps": "{steps}"}
    cells |= {"accuracy %": "{accuracy:.1f %}", "n": "{n}"}
    cells |= {"Table 5: epochs": "{theirs}", "top-1 %": "{paper}"}
    return table(cells, rows, record)


def layer_norms() -> str:
    """Return the paper's Table 2 beside what was found at the largest batch."""
    record = read_record("layer_norms")
    cells = {"parameter": "{of}", "norm, paper": "{weight}", "ours": "{drawn:.3f}"}
    cells |= {"gradient, paper": "{gradient}"}
    cells |= {name: f"{{{name}:.2g}}" for name in NETWORKS}
    note = f"Batches of {BATCHES[-1]:,}; mean and deviation of seeds. "
    return table(cells, _beside_paper(record, NETWORKS), record, note)


def layer_norms_departures() -> str:
    """Return gradients beside the paper's of those departures that were measured."""
    record = read_record("layer_norms")
    measured = {run["network"] for run in record["runs"]}
    names = [name for name in DEPARTURES if name in measured]
    cells = {"gradient of": "{of}", "paper": "{gradient}"}
    cells |= {f"AlexNet-BN, {name}": f"{{{name}:.2g}}" for name in names}
    return columns(cells, _beside_paper(record, names))


def _beside_paper(record: Row, networks: Iterable[str]) -> list[Row]:
    """Return a row for each parameter of Table 2, with its gradients by network."""
    rows = []
    for layer, of_paper in PAPER.items():
        own = {name: _norms(record, name, BATCHES[-1], layer) for name in networks}
        drawn = _norms(record, "AlexNet-BN", BATCHES[-1], layer)
        for kind, weight, gradient in zip(
            KINDS, of_paper[::2], of_paper[1::2], strict=True
        ):
            row = {name: found[kind]["gradient_norm"] for name, found in own.items()}
            row |= {"of": f"{layer} {kind}", "gradient": gradient, "weight": weight}
            rows.append(row | {"drawn": drawn[kind]["weight_norm"]})
    return rows


def layer_norms_batches() -> str:
    """Return gradients of the last bias over batches, which tell that of the table."""
    record = read_record("layer_norms")
    rows = []
    for batch in BATCHES:
        own = {name: _norms(record, name, batch, "fc8") for name in NETWORKS}
        row = {name: own[name]["bias"]["gradient_norm"] for name in NETWORKS}
        rows.append(row | {"batch": batch, "expected": bias_gradient(batch)})
    cells = {"batch": "{batch:,}", "expected": "{expected:.4f}"}
    cells |= {name: f"{{{name}:.4f}}" for name in NETWORKS}
    return columns(cells, rows)


def _norms(
    record: Row, network: str, batch: int, layer: str
) -> dict[str, dict[str, list[float]]]:
    """Return the norms of kernel and bias of a layer, a value for each seed."""
    runs = [
        run["layers"]
        for run in record["runs"]
        if (run["network"], run["batch"]) == (network, batch)
    ]
    return {
        kind: {
            name: [layers[f"{layer}/{kind}"][name] for layers in runs]
            for name in ("weight_norm", "gradient_norm")
        }
        for kind in KINDS
    }


def _comparison(preset: str) -> str:
    record = read_record(f"compare_{preset}")
    grid = from_json(Grid, record["grid"])
    # Rows of before have none.
    seconds = [run["wall_seconds"] for run in record["runs"] if "wall_seconds" in run]
    note = ""
    if seconds:
        took = statistics.median(seconds) / 60
        note = f"A run took {took:.1f} minutes by the clock, in the median, on a core. "
    return f"{comparison_tables(record['runs'], grid)}\n{origin(record, note)}"
