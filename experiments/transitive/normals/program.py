"""A network of surface normals in training, as the shell runs it."""

from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.transitive.host_fed import HostFedProgram
from experiments.transitive.normals.augment import encode_normals, vary
from experiments.transitive.normals.baselines import (
    commonest_codeword,
    constant_errors,
    mean_normal,
)
from experiments.transitive.normals.codebook import fit_codebook, triangles
from experiments.transitive.normals.config import Config, ModelConfig
from experiments.transitive.normals.decode import decode
from experiments.transitive.normals.fcn import FCN
from experiments.transitive.normals.metrics import (
    add_errors,
    angular_error,
    no_errors,
    summary,
)
from experiments.transitive.normals.targets import Targets
from experiments.transitive.pretrained import pretrained_trunk
from experiments.transitive.rule import make_rule
from lars_jax.data.order import batch_samples
from lars_jax.report import save_png
from lars_jax.runs import Cadence, Files
from lars_jax.train import DataParallel, Interrupt, TrainState, data_mesh, update
from lars_jax.train.ahead import AheadOfTime
from lars_jax.train.interrupt import NEVER
from lars_jax.train.record import plain

CODEBOOK_NORMALS = 100_000
"""Training normals, spread over all frames, that codewords are made of."""

CALIBRATION = 8
"""Frames by which weights that were learned elsewhere are scaled."""

SHOWN = 8
"""Frames of the evaluation that are drawn at the end of a run."""

GREY = 128
"""Of pixels without a normal, in pictures."""


class NormalsProgram(HostFedProgram):
    """Training on photographs with normals.

    Args:
        config: of the network, checked.
        train: frames to learn from.
        test: frames to evaluate.
    """

    def __init__(self, config: Config, train: Targets, test: Targets):
        self.config, self.train, self.test = config, train, test
        self.seed, self.log_every = config.seed, config.log_every
        self.examples_per_step = config.global_batch
        self.parallel = DataParallel(data_mesh(config.devices))
        self.parallel.check_divides(config.global_batch)
        self.network = build_network(config)
        step = partial(train_step, config)
        self.train_step = AheadOfTime(self.parallel.compile(step))
        self.decoded = self.parallel.compile_pure(self._decoded)

    @property
    def cadence(self) -> Cadence:
        """When it evaluates, saves and ends."""
        every = min(self.config.eval_every, self.config.steps)
        return Cadence(self.config.steps, every, every)

    @cached_property
    def fitted(self) -> np.ndarray:
        """The codebook of the training frames, with which a run begins."""
        normals, count = some_normals(self.train), self.config.codebook.codewords
        return fit_codebook(normals, count, seed=self.config.seed)

    def init(self) -> TrainState:
        """Return the state before the first step.

        Raises:
            InputError: a file of weights does not have these convolutions, or normals
                are too few or too much alike for codewords and their triangles.
        """
        corners(self.config, self.fitted)
        # In the state, as labels and normals that are told hang on it to the end.
        kept = self.parallel.replicate({"codebook": self.fitted})
        return super().init()._replace(model_state=kept)

    def drawn(self) -> TrainState:
        """Return the state before the first step, its weights drawn by the seed."""
        return drawn_state(self.config)

    def learned(self, params: Any) -> Any:
        """Return the convolutions of `init_from`."""
        model, images = self.config.model, self.train.image[:CALIBRATION]
        if model.init_from is None:
            return None
        return pretrained_trunk(model, params["trunk"], images)

    def batches(self, start: int) -> Iterator[dict[str, np.ndarray]]:
        """Yield the batch of every step from `start` on."""
        batch = self.config.global_batch
        rows = self.parallel.local_rows(batch)
        for step in range(start, self.config.steps):
            index, _ = batch_samples(self.seed, step, len(self.train), batch)
            chosen = index[rows]
            yield {
                "image": self.train.image[chosen],
                "normals": self.train.normals[chosen],
                "valid": self.train.valid[chosen],
            }

    def evaluate(
        self, state: TrainState, interrupt: Interrupt = NEVER
    ) -> dict[str, float]:
        """Return the five numbers of Table 5, pooled over all valid pixels.

        Raises:
            Interrupted: a signal came.
        """
        errors = no_errors()
        for places, normals in tell(self, state, self.test.image, interrupt):
            target = jnp.asarray(self.test.normals[places], jnp.float32)
            degrees = np.asarray(angular_error(jnp.asarray(normals), target))
            errors = add_errors(errors, degrees, self.test.valid[places])
        return summary(errors) | {"count": float(len(self.test))}

    def baseline(self) -> dict[str, float]:
        """Return the error of the mean normal and of the commonest codeword."""
        normals = some_normals(self.train)
        frames = list(
            zip(self.test.normals.astype(np.float32), self.test.valid, strict=True)
        )
        guesses = {
            "mean_normal": mean_normal(normals),
            "commonest": commonest_codeword(normals, self.fitted),
        }
        return {
            f"baseline/{name}/{measure}": value
            for name, guess in guesses.items()
            for measure, value in constant_errors(guess, frames).items()
        }

    def weights(self, state: TrainState) -> Any:
        """Return the weights and the codewords, which `export` writes."""
        return {"params": state.params, **state.model_state}

    def describe(self, state: TrainState) -> Iterator[str]:
        """Yield lines that say what is about to run."""
        count = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        data = self.config.data
        yield (
            f"FCN-{self.network.stride}s, {count:,} parameters; {len(self.train):,} "
            f"frames to train on, {len(self.test):,} to evaluate, {data.height} x "
            f"{data.length} pixels; {self.config.codebook.codewords} codewords; "
            f"{self.config.steps} steps"
        )

    def row(self, step: int, metrics: dict[str, Any]) -> dict[str, Any]:
        """Return a row of metrics."""
        row = plain(metrics)
        return {f"train/{name}": value for name, value in row.items()} | {
            "epoch": step * self.config.global_batch / len(self.train)
        }

    def format_row(self, row: Mapping[str, Any]) -> str:
        """Return a row as a short line for the progress bar."""
        return f"loss {row['train/loss']:.3f}"

    def format_evaluation(self, evaluation: Mapping[str, Any]) -> str:
        """Return an evaluation as a short line."""
        return (
            f"mean {evaluation['mean']:.1f}, median {evaluation['median']:.1f} degrees;"
            f" below 11.25 {evaluation['below_11.25']:.1f} %, 22.5 "
            f"{evaluation['below_22.5']:.1f} %, 30 {evaluation['below_30']:.1f} %"
        )

    def score(self, evaluation: Mapping[str, Any]) -> float | None:
        """Return the mean error, the less the better."""
        return -evaluation["mean"] if "mean" in evaluation else None

    def on_finish(self, state: TrainState, files: Files, interrupt: Interrupt) -> None:
        """Draw some frames: the photograph, what is there, what the network tells."""
        if not files.writes:
            return
        rows: list[np.ndarray] = []
        for places, normals in tell(self, state, self.test.image, interrupt):
            for place, told in zip(places.tolist(), normals, strict=True):
                known = self.test.valid[place]
                truth = picture(self.test.normals[place].astype(np.float32), known)
                drawn = picture(told, np.ones_like(known))
                rows.append(np.hstack([self.test.image[place], truth, drawn]))
            if len(rows) >= SHOWN:
                break
        save_png(files.directory / "normals.png", np.vstack(rows[:SHOWN]))

    def _decoded(self, params: Any, batch: Any, shared: Any) -> jax.Array:
        scores = self.network.apply(params, batch["image"])
        return decode(scores, rule=self.config.codebook.decoding, **shared)


def tell(
    program: NormalsProgram, state: TrainState, images: np.ndarray, interrupt: Interrupt
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield places of images and the normals [n, H, W, 3] that the network tells."""
    devices = program.parallel.num_devices
    size = max(1, 4 // devices) * devices
    codebook = np.asarray(state.model_state["codebook"])
    shared = program.parallel.replicate(
        {"codebook": codebook, "corners": corners(program.config, codebook)}
    )
    for first in range(0, len(images), size):
        interrupt.check()
        places = np.arange(first, min(first + size, len(images)))
        batch = {"image": images[np.resize(places, size)]}
        batch = program.parallel.shard_batch(batch)
        told = program.decoded(state.params, batch, shared)
        yield places, np.asarray(told)[: len(places)]


def corners(config: Config, codebook: np.ndarray) -> np.ndarray | None:
    """Return the triangles that normals are read off; other rules have none.

    Raises:
        InputError: codewords that are all on one plane.
    """
    return triangles(codebook) if config.codebook.decoding == "triangle" else None


def build_network(config: Config) -> FCN:
    """Return the network of a configuration."""
    model: ModelConfig = config.model
    return FCN(
        network=model.network,
        width=model.width,
        height=config.data.height,
        length=config.data.length,
        border=model.border,
        cells=model.cells,
        units=model.units,
        classes=config.codebook.codewords,
        dropout=model.dropout,
        dtype=model.dtype,
    )


def drawn_state(config: Config) -> TrainState:
    """Return the state before the first step, drawn from the seed, with no codebook."""
    params = build_network(config).init(jax.random.key(config.seed))
    empty = {"codebook": jnp.zeros((config.codebook.codewords, 3))}
    return TrainState.create(params, empty, make_rule(config.optimizer))


def train_step(
    config: Config, state: TrainState, batch: Any, shared: dict[str, jax.Array]
) -> Any:
    """Return the state after a step, and its metrics.

    L = - mean over valid pixels of log p(nearest codeword)
    """
    network, data = build_network(config), config.data
    key = jax.random.fold_in(shared["key"], state.step)
    drop, varied = jax.random.split(key)

    def loss_fn(params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
        del key
        keys = jax.random.split(varied, len(batch["image"]))
        images, normals, valid = vary(
            batch["image"].astype(jnp.float32),
            batch["normals"].astype(jnp.float32),
            batch["valid"],
            keys,
            flip=data.flip,
            strength=data.colour,
        )
        labels = encode_normals(normals, model_state["codebook"])
        scores = network.apply(params, images, key=drop)
        entropy = optax.softmax_cross_entropy_with_integer_labels(scores, labels)
        share = valid.astype(jnp.float32)
        count = jnp.maximum(jnp.sum(share), 1.0)
        right = (jnp.argmax(scores, axis=-1) == labels).astype(jnp.float32)
        loss = jnp.sum(entropy * share) / count
        return loss, (model_state, {"accuracy": jnp.sum(right * share) / count})

    return update(loss_fn, make_rule(config.optimizer), state, batch, key)


def some_normals(targets: Targets) -> np.ndarray:
    """Return valid normals spread over all frames, unit vectors float32 [N, 3]."""
    every = max(1, targets.valid.size // CODEBOOK_NORMALS)
    chosen = np.flatnonzero(targets.valid.ravel())[::every]
    found = targets.normals.reshape(-1, 3)[chosen].astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def picture(normals: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return normals as colours, uint8 [H, W, 3]: (x, -y, -z) from -1 to 1.

    >>> picture(np.float32([[[0, 0, -1]]]), np.array([[True]])).tolist()
    [[[128, 128, 255]]]
    """
    colours = 127.5 * (normals * np.array([1, -1, -1], np.float32) + 1)
    shown = np.where(valid[..., None], np.round(colours), GREY)
    return shown.astype(np.uint8)
