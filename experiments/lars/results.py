"""What a finished run shows: its mistakes and its report."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lars.config import OptimizerConfig, rule_name
from experiments.lars.inputs import Inputs
from lars_jax.data import center_crop, read_batch
from lars_jax.files import replacing
from lars_jax.report import Mistakes, write_report
from lars_jax.runs import read_run
from lars_jax.runs.data import data_rows
from lars_jax.train.record import read_rows
from lars_jax.train.weights import read_arrays

MOST_MISTAKES = 40
"""Mistakes kept for the contact sheet, the most confident first."""


def save_mistakes(
    directory: Path, inputs: Inputs, probabilities: np.ndarray, labels: np.ndarray
) -> None:
    """Write the evaluation examples that the network gets wrong, with its answers.

    It makes `probabilities` of them, float32 [N, classes]; `labels` are int32 [N].
    """
    predictions = probabilities.argmax(axis=-1)
    confidence = probabilities.max(axis=-1)
    wrong = np.flatnonzero(predictions != labels)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST_MISTAKES]
    images = np.zeros((0, 1, 1, 1), np.uint8)
    if len(wrong):
        source, data = inputs.evaluation.source, inputs.config.data
        fit = data.evaluation_fit
        read = read_batch(source, wrong.tolist(), resize=data.resize, fit=fit)
        images = center_crop(read.image, data.image_size)
    with replacing(directory / "mistakes.npz") as temporary:
        np.savez_compressed(
            temporary,
            image=images,
            label=labels[wrong].astype(np.int32),
            prediction=predictions[wrong].astype(np.int32),
            confidence=confidence[wrong].astype(np.float32),
            index=wrong.astype(np.int32),
            class_names=np.array(inputs.class_names),
        )


def load_mistakes(directory: Path) -> Mistakes | None:
    """Return what `save_mistakes` wrote, or None where a run has not come so far.

    Raises:
        InputError: the file is not what was written.
    """
    path = directory / "mistakes.npz"
    if not path.exists():
        return None
    names = [field.name for field in dataclasses.fields(Mistakes)]
    arrays = read_arrays(path, names)
    class_names = tuple(map(str, arrays.pop("class_names")))
    return Mistakes(**arrays, class_names=class_names)


def write_run_report(directory: Path) -> Path:
    """Write `report.html` from the files of a run directory, finished or not.

    Raises:
        InputError: the directory holds no run.
    """
    record = read_run(directory)
    rows = list(read_rows(directory / "metrics.jsonl"))
    path = directory / "report.html"
    write_report(
        path,
        title=f"{record['preset']}: {record['config']['model']['network']} on "
        f"{record['config']['data']['dataset']}",
        summary=_summary(rows, record),
        config=record["config"],
        metrics=rows,
        layers=[r for r in read_rows(directory / "layers.jsonl") if "layers" in r],
        mistakes=load_mistakes(directory),
        environment=record["environment"] | data_rows(directory),
    )
    return path


def _summary(rows: list[dict[str, Any]], record: dict[str, Any]) -> dict[str, str]:
    steps = [row for row in rows if "train/loss" in row]
    summary: dict[str, str] = {}
    for last in [row for row in rows if "eval/accuracy" in row][-1:]:
        accuracy = 100 * last["eval/accuracy"]
        summary["accuracy"] = f"{accuracy:.2f} % of {last['eval/count']:.0f}"
        summary["evaluation loss"] = f"{last['eval/loss']:.4f}"
    rule = record["config"]["optimizer"]
    # Records from before there were variants have none.
    names = rule["optimizer"], rule.get("variant", "paper")
    summary["optimizer"] = rule_name(OptimizerConfig(*names))
    summary["global batch"] = f"{record['config']['global_batch']:,}"
    if steps:
        # The first interval holds the compilation.
        timed = steps[1:] or steps
        rate = float(np.median([row["images_per_second"] for row in timed]))
        wait = float(np.mean([row["data_wait"] for row in timed]))
        summary["steps"] = f"{steps[-1]['step']:,}"
        summary["images per second"] = f"{rate:,.0f}"
        summary["waiting for data"] = f"{100 * wait:.1f} %"
    return summary
