"""Every run behind the tables: pretraining by method and seed, then the other tasks.

pipeline/        stages of the pipeline, one method after another
pretrained/      weights of each method and seed
TASK/            a run of each method, seed, and blocks that are left as they are
results.jsonl    a row for each of these
"""

import itertools
import math
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from tqdm import tqdm

from experiments.transitive import check as pipeline
from experiments.transitive.compare import known_rows
from experiments.transitive.config import Config
from experiments.transitive.detection.experiment import DETECTION
from experiments.transitive.networks import BLOCKS, RMS, trunk_network
from experiments.transitive.normals.experiment import NORMALS
from experiments.transitive.sources import video_digests
from experiments.transitive.stages import make_stages
from experiments.transitive.transfer.methods import METHODS
from experiments.transitive.transfer.plan import Plan
from experiments.transitive.transfer.shared import Shared
from experiments.transitive.transfer.tables import TABLES, Cell, Task, markdown
from lars_jax.errors import InputError
from lars_jax.files import local_path, make_directory, replacing
from lars_jax.runs import Experiment, run_stages, stages_through
from lars_jax.runs.data import digests, open_data
from lars_jax.runs.paths import absolute_paths
from lars_jax.runs.train import train
from lars_jax.train import Interrupt, Interrupted
from lars_jax.train.config import digest, replace_fields
from lars_jax.train.record import (
    append_row,
    environment,
    lock,
    read_json,
    read_rows,
    write_json,
    write_text,
)
from lars_jax.train.weights import save_weights

RESULTS = "results.jsonl"
"""A row for each run of a task."""

KEY = ("task", "frozen", "method", "seed")
"""Fields of a row that say which run it is."""

PRESETS: Mapping[Task, tuple[Experiment[Any], str]] = {
    "fast": (DETECTION, "small_fast"),
    "faster": (DETECTION, "small_faster"),
    "normals": (NORMALS, "small"),
}
"""What is trained for a task, and the preset that it is trained by."""


def run_transfer(
    config: Config,
    plan: Plan,
    directory: Path,
    *,
    hours: float | None = None,
    interrupt: Interrupt,
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Run what is missing, a seed after another, and return a row for each run.

    Rows are those of the directory, whether this plan asks for them or another did.

    Args:
        config: of the pipeline, which the methods change.
        plan: what is run.
        directory: gets what the module's head lists, `config.json` and `tables.md`.
        hours: after which nothing begins; None: all runs.
        interrupt: ends the work on a signal.
        say: is told what runs.

    Raises:
        InputError: a cell that cannot run, or a directory that holds other ones.
        Interrupted: a signal came.
    """
    directory = local_path(directory)
    cells = unique(_cells(plan))
    _check(config, plan, cells)
    _begin(shared_by(config, plan), directory)
    until = math.inf if hours is None else time.monotonic() + 3600 * hours
    seeds = range(config.seed, config.seed + plan.seeds)
    wanted = [(cell, seed) for seed in seeds for cell in cells]
    with lock(directory), tqdm(total=len(wanted), unit="run") as progress:
        found = {key(row): row for row in known_rows(directory / RESULTS)}

        remaining = [one for one in wanted if one not in found]
        progress.update(len(wanted) - len(remaining))
        for cell, seed in remaining:
            if time.monotonic() > until:
                break
            say(f"{' '.join(map(str, cell))} {seed}: running")
            weights = pretrain(config, cell[2], seed, directory, interrupt, say)
            run = directory / cell[0] / f"{cell[2]}-c{cell[1]}-seed-{seed}"
            row = carry(cell, task_config(config, plan, cell, seed, weights), run)
            row = dict(zip(KEY, (*cell, seed), strict=True)) | row
            append_row(directory / RESULTS, row)
            # Sixty runs of them would fill a disk; without its row one is lost.
            shutil.rmtree(run / "checkpoints", ignore_errors=True)
            found[cell, seed] = row
            write_tables(plan, [*found.values()], directory)
            progress.update()
            interrupt.check()
        return [*found.values()]


def key(row: Mapping[str, Any]) -> tuple[Cell, int]:
    """Return what tells a row from every other.

    >>> key({"task": "fast", "frozen": 0, "method": "Ours", "seed": 1, "baseline": {}})
    (('fast', 0, 'Ours'), 1)
    """
    *cell, seed = (row[name] for name in KEY)
    return tuple(cell), seed


def unique(cells: Iterable[Cell]) -> list[Cell]:
    """Return cells once each, in the order of their first."""
    return list(dict.fromkeys(cells))


def pretrain(
    config: Config,
    name: str,
    seed: int,
    directory: Path,
    interrupt: Interrupt,
    say: Callable[[str], None],
) -> Path:
    """Return the weights of a method, which are learned if they are not there.

    Those that nothing has learned are drawn, and begin as all others do: scaled.

    Raises:
        Interrupted: a signal came.
    """
    method = METHODS[name]
    kept = directory / "pretrained" / f"{name}-seed-{seed}.safetensors"
    if kept.exists():
        return kept
    make_directory(kept.parent)
    if method.stage is None:
        images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
        drawn, _ = trunk_network(config.model).init(jax.random.key(seed), images)
        save_weights(kept, {"trunk": drawn})
        return kept
    own = pipeline.check(replace_fields(method.config(config), seed=seed))
    stages = stages_through(make_stages(own), method.stage)
    place = directory / "pipeline"
    run_stages(stages, own, place, interrupt=interrupt, say=say)
    with replacing(kept) as temporary:
        shutil.copyfile(place / method.stage / "weights.safetensors", temporary)
    return kept


def carry(cell: Cell, config: Any, run: Path) -> dict[str, Any]:
    """Train a task, and return what came of it.

    Args:
        cell: which run.
        config: of the run, as of `task_config`.
        run: its directory.

    Raises:
        Interrupted: a signal came.
    """
    experiment, preset = PRESETS[cell[0]]
    outcome = train(experiment, config, run, name=preset, resume="if_any")
    if outcome.status:
        # Training has heard the signal in place of whoever runs all of them.
        signal.raise_signal(outcome.status - 128)
        raise Interrupted
    first = next(iter(read_rows(run / "metrics.jsonl")), {})
    known = {k: v for k, v in first.items() if k.startswith("baseline/")}
    return {"evaluation": outcome.evaluation, "baseline": known}


def task_config(
    config: Config, plan: Plan, cell: Cell, seed: int, weights: Path | None
) -> Any:
    """Return the configuration of a run of a task."""
    task, block, name = cell
    experiment, preset = PRESETS[task]
    normals = task == "normals"
    steps = plan.normals_steps if normals else plan.detector_steps
    shown = RMS if weights and METHODS[name].of_context(config) else 1.0
    own = replace_fields(
        experiment.presets[preset].config,
        network=config.model.network,
        width=config.model.width,
        init_from=None if weights is None else str(weights),
        shown_rms=shown,
        seed=seed,
        devices=config.devices,
        steps=steps,
        drop_every=max(1, 2 * steps // 3),
        warmup_steps=min(100, steps // 10),
        eval_every=steps,
    )
    if normals:
        named = {"frames": plan.frames, "splits": plan.splits}
        return absolute_paths(replace_fields(own, **named))
    stays = _last_layer(config.model.network, block)
    return absolute_paths(replace_fields(own, dataset=plan.dataset, frozen=stays))


def write_tables(plan: Plan, rows: Sequence[Mapping[str, Any]], directory: Path) -> str:
    """Write the tables, and return them."""
    text = "\n".join(markdown(number, rows) for number in plan.tables)
    write_text(directory / "tables.md", text)
    return text


def _last_layer(network: str, block: int) -> str | None:
    """Return the last convolution of the first blocks.

    >>> _last_layer("vgg16", 3)
    'conv3_3'
    """
    if not block:
        return None
    blocks = BLOCKS[network]
    if block > len(blocks):
        raise InputError(
            f"frozen counts blocks of {network}, which has {len(blocks)}; got {block}: "
            "lower --frozen"
        )
    return f"conv{block}_{blocks[block - 1][1]}"


def _check(config: Config, plan: Plan, cells: Sequence[Cell]) -> None:
    """Refuse what cannot run, before anything is read or written."""
    if not plan.tables or len(set(plan.tables)) < len(plan.tables):
        got = " ".join(map(str, plan.tables)) or "none"
        raise InputError(
            f"tables are some, each of them once; got {got}: correct --tables"
        )
    halved = [cell[2] for cell in cells if METHODS[cell[2]].half_tracks]
    if halved and config.of_photographs:
        raise InputError(
            f"{halved[0]} is of tracks half as long, which photographs have not; got "
            f"{config.video.videos}: choose other --tables, or --videos folder:PATH"
        )
    for one, other in itertools.combinations({cell[2]: None for cell in cells}, 2):
        if METHODS[one].learned(config) == METHODS[other].learned(config):
            raise InputError(
                "rows of the tables are of networks that differ; got one and the same "
                f"for {one} and {other}: undo what makes them one"
            )
    for cell in cells:
        pipeline.check(METHODS[cell[2]].config(config))
        experiment, _ = PRESETS[cell[0]]
        experiment.check(task_config(config, plan, cell, config.seed, None))


def shared_by(config: Config, plan: Plan) -> Shared:
    """Return what runs of a configuration and a plan share.

    Raises:
        InputError: data that cannot be read: what the last run needs is not to be
            missed hours later.
    """
    data = {"videos": digest(video_digests(config))}
    for task, block, method in unique(_cells(plan)):
        if task not in data:
            own = task_config(config, plan, (task, block, method), config.seed, None)
            read = open_data(PRESETS[task][0], own, None, accept=False)[1]
            data[task] = digest(digests(read.found))
    presets = {
        task: experiment.presets[name].config
        for task, (experiment, name) in PRESETS.items()
    }
    return Shared(config, plan, presets, data)


def _begin(shared: Shared, directory: Path) -> None:
    """Keep what all runs share, or refuse other runs than those that are there."""
    path, known = directory / "config.json", {}
    if path.exists():
        found = read_json(path)
        known = found if isinstance(found, dict) else {}
        if changes := shared.changes(known):
            raise InputError(
                f"tables need a directory of their own; {directory} holds others "
                f"({changes[0]}): name another --run-dir"
            )
    make_directory(directory)
    asked = shared.to_json()
    # Others read data that these do not.
    asked["data"] = {**known.get("data", {}), **asked["data"]}
    write_json(path, {"environment": environment(), **known, **asked})


def _cells(plan: Plan) -> Iterable[Cell]:
    return (cell for n in plan.tables for cell in TABLES[n].cells(plan.frozen))
