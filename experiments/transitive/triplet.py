"""The triplet network in training, as the shell runs it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.transitive.batches import PairData, Sampler
from experiments.transitive.config import Config, TripletConfig
from experiments.transitive.context import pair_batches
from experiments.transitive.host_fed import HostFedProgram
from experiments.transitive.multitask import ContextHeads
from experiments.transitive.networks import prepare, triplet_network
from experiments.transitive.ranking import ranking_loss, swap_ends
from lars_jax.data import (
    ResidentImages,
    Source,
    augment,
    example_keys,
    jitter_colours,
    resized_crops,
    to_arrays,
)
from lars_jax.models import Network
from lars_jax.optim import (
    FIELDS,
    lamb,
    lars,
    layer_norms,
    leaf_names,
    record_norms,
    warmup_polynomial,
)
from lars_jax.runs import Cadence
from lars_jax.train import DataParallel, Interrupt, TrainState, data_mesh
from lars_jax.train import evaluate as summed
from lars_jax.train import update as take_step
from lars_jax.train.ahead import AheadOfTime
from lars_jax.train.interrupt import NEVER
from lars_jax.train.record import plain
from lars_jax.train.weights import load_weights

DEVICE_LIMIT = 2**30
"""Bytes of images up to which all of them are kept on the device."""

EVALUATED = 20
"""Batches that an evaluation looks at, drawn by a seed of their own."""

EVALUATION_SEED = 2**31
"""Is added to the seed of a run for the batches of an evaluation."""

ROWS = 10
"""Evaluations and checkpoints of a run, and about as many rows of its layers."""

LOGGED = 200
"""Rows of metrics of a run, at least."""


@dataclass(frozen=True)
class TripletSteps:
    """What is trained and how, which no data need to be there for.

    Attributes:
        config: of the pipeline.
        size: pixels a side of the images that the network is shown.
        network: from images to features.
        context: heads of context prediction beside it; None: there are none.
        train_step: `(state, batch, shared) -> (state, metrics)`, not yet compiled.
        eval_step: `(state, batch, shared) -> sums`.
    """

    config: Config
    size: int
    network: Network
    context: ContextHeads | None
    train_step: AheadOfTime
    eval_step: AheadOfTime

    @classmethod
    def create(
        cls, config: Config, size: int, parallel: DataParallel, *, context: bool
    ) -> "TripletSteps":
        """Return the steps of a configuration over a mesh.

        Args:
            config: of the pipeline.
            size: of the images that the network is shown.
            parallel: the mesh.
            context: whether context prediction is learned beside the ranking.

        Raises:
            InputError: the pairs of a batch do not divide over the devices.
        """
        parallel.check_divides(config.triplet.global_batch // 2)
        network = triplet_network(config.model, config.triplet)
        heads = None
        if context:
            heads = ContextHeads.create(
                config.model, config.context, config.triplet.init
            )
        tx = make_optimizer(config.triplet)
        step = partial(_train_step, config.triplet, network, size, heads, tx)
        measure = partial(_eval_step, config.triplet, network, size)
        return cls(
            config,
            size,
            network,
            heads,
            AheadOfTime(parallel.compile(step)),
            AheadOfTime(parallel.compile_pure(measure)),
        )

    def drawn(self) -> TrainState:
        """Return the state before the first step, drawn from the seed."""
        shape = jax.ShapeDtypeStruct((1, self.size, self.size, 3), jnp.float32)
        key = jax.random.key(self.config.seed)
        params, model_state = self.network.init(key, shape)
        if self.context is not None:
            # Its convolutions are the ones that are drawn already.
            params |= self.context.init(jax.random.fold_in(key, 1))
        tx = make_optimizer(self.config.triplet)
        return TrainState.create(params, model_state, tx)


class TripletProgram(HostFedProgram):
    """Training on pairs.

    Args:
        config: of the pipeline.
        data: its pairs.
        trunk: file of weights of the convolutions to begin with; None: drawn.
        frames: photographs for context prediction on the same convolutions, which the
            configuration gives a weight; None: there is none of it.
    """

    def __init__(
        self,
        config: Config,
        data: PairData,
        trunk: Path | None = None,
        frames: Source | None = None,
    ):
        self.config, self.data, self.trunk, self.frames = config, data, trunk, frames
        self.seed, self.examples_per_step = config.seed, config.triplet.global_batch
        self.log_every = max(1, config.triplet.steps // LOGGED)
        self.sampler = Sampler.create(data, config.triplet)
        self.parallel = DataParallel(data_mesh(config.devices))
        first = np.asarray(data.source[int(data.image[0])][0])
        size = config.model.image_size or first.shape[0]
        self.resident = len(data.source) * first.size <= DEVICE_LIMIT
        self.steps = TripletSteps.create(
            config, size, self.parallel, context=frames is not None
        )
        self.train_step = self.steps.train_step
        self.eval_step = self.steps.eval_step

    @cached_property
    def shared(self) -> dict[str, Any]:
        """What every step is given besides state and batch."""
        shared: dict[str, Any] = {"key": jax.random.key(self.config.seed)}
        if self.resident:
            shared["image"] = ResidentImages.of(to_arrays(self.data.source).image)
        return self.parallel.replicate(shared)

    @property
    def cadence(self) -> Cadence:
        """When it evaluates, saves and ends."""
        steps = self.config.triplet.steps
        every = max(1, steps // ROWS)
        return Cadence(steps, every, every)

    def drawn(self) -> TrainState:
        """Return the state before the first step, its weights drawn by the seed."""
        return self.steps.drawn()

    def learned(self, params: Any) -> Any:
        """Return the convolutions of a file of weights."""
        return None if self.trunk is None else load_weights(self.trunk, params["trunk"])

    def batches(self, start: int) -> Iterator[dict[str, Any]]:
        """Yield the pairs of every step from `start` on."""
        steps = self.config.triplet.steps
        pairs = self._pairs(self.seed, start, steps)
        if self.frames is None:
            return pairs
        return map(dict.__or__, pairs, self._patches(start, steps))

    def evaluate(
        self, state: TrainState, interrupt: Interrupt = NEVER
    ) -> dict[str, float]:
        """Return loss and distances over pairs of training, in an order of their own.

        Images are not varied: it says how far training has come, not what of other
        pairs would be right.

        Raises:
            Interrupted: a signal came.
        """
        seed = (self.config.seed + EVALUATION_SEED) % 2**32
        pairs = self._pairs(seed, 0, EVALUATED)
        return summed(
            lambda batch: self.eval_step.under(interrupt, state, batch, self.shared),
            map(self.parallel.shard_batch, interrupt.each(pairs)),
            expected=EVALUATED * self.config.triplet.global_batch // 2,
            should_stop=lambda: interrupt.requested,
        )

    def weights(self, state: TrainState) -> Any:
        """Return the weights of convolutions and head."""
        return {name: state.params[name] for name in ("trunk", "head")}

    def describe(self, state: TrainState) -> Iterator[str]:
        """Yield a line that says what is about to run."""
        triplet = self.config.triplet
        parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        yield (
            f"triplets: {parameters:,} parameters; {len(self.data.nodes):,} pairs of "
            f"{len(self.data.image):,} images; {triplet.optimizer}, batch "
            f"{triplet.global_batch}, {triplet.negatives} negatives, "
            f"{triplet.steps:,} steps on {self.parallel.num_devices} x "
            f"{jax.devices()[0].device_kind}"
        )

    def row(self, step: int, metrics: dict[str, Any]) -> dict[str, Any]:
        """Return a row of metrics, its loss that of training."""
        del step
        row = plain(metrics)
        return {"train/loss": row.pop("loss"), **row}

    def format_row(self, row: Mapping[str, Any]) -> str:
        """Return a row as a short line for the progress bar."""
        return f"loss {row['train/loss']:.3f} {row['images_per_second']:.0f} images/s"

    def layers(self, step: int, metrics: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return norms, trust ratio and rate of every layer, now and then."""
        rare = self.log_every * (LOGGED // ROWS)
        if step % rare and step not in (1, self.cadence.total):
            return None
        names = leaf_names(self.like().params)
        return {
            name: dict(zip(FIELDS, values.tolist(), strict=True))
            for name, values in zip(names, metrics["layer_norms"], strict=True)
        }

    def score(self, evaluation: Mapping[str, Any]) -> float | None:
        """Return the negative loss."""
        return -evaluation["loss"] if "loss" in evaluation else None

    def _pairs(self, seed: int, start: int, stop: int) -> Iterator[dict[str, Any]]:
        rows = self.parallel.local_rows(self.config.triplet.global_batch // 2)
        if not self.resident:
            return self.sampler.with_images(seed, start, stop, rows)
        found = (self.sampler.batch(seed, step) for step in range(start, stop))
        return ({k: v[rows] for k, v in batch.items()} for batch in found)

    def _patches(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """Yield as many pairs of patches as there are pairs of images."""
        assert self.frames is not None
        pairs = self.config.triplet.global_batch // 2
        config = replace(self.config.context, context_batch=pairs)
        rows = self.parallel.local_rows(pairs)
        found = pair_batches(
            self.frames, config, seed=self.seed, start=start, steps=stop, rows=rows
        )
        for batch in found:
            yield {f"context/{name}": value for name, value in batch.items()}


def make_optimizer(config: TripletConfig) -> optax.GradientTransformation:
    """Return the rule of a configuration, its rate falling to zero along a line.

    The paper gives a rate and no schedule; its ancestor divides the rate by ten now
    and then, which a line passes by.

    >>> config = TripletConfig(learning_rate=0.5, steps=10, weight_decay=0.0)
    >>> tx = make_optimizer(config)
    >>> w = jnp.ones(2)
    >>> print(tx.update(w, tx.init(w), w)[0])
    [-0.5 -0.5]
    """
    rate = warmup_polynomial(
        config.learning_rate, config.steps, config.warmup_steps, power=1.0
    )
    decay, momentum = config.weight_decay, config.momentum
    if config.optimizer == "lars":
        return lars(rate, decay, momentum=momentum)
    if config.optimizer in ("lamb", "adam"):
        # Adam is LAMB with every trust ratio one.
        adapted = config.optimizer == "lamb"
        return lamb(rate, b1=momentum, weight_decay=decay, trust_ratio_mask=adapted)
    return optax.chain(
        record_norms(rate),
        optax.add_decayed_weights(decay),
        optax.sgd(rate, momentum or None),
    )


def _train_step(
    config: TripletConfig,
    network: Any,
    size: int,
    context: ContextHeads | None,
    tx: optax.GradientTransformation,
    state: TrainState,
    batch: dict[str, jax.Array],
    shared: dict[str, jax.Array],
) -> Any:
    key = jax.random.fold_in(shared["key"], state.step)
    swap, vary, draw = jax.random.split(key, 3)

    def loss_fn(params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
        images, nodes = swap_ends(swap, _images(batch, shared)), batch["node"]
        pairs, ends = images.shape[:2]
        flat = images.reshape(pairs * ends, *images.shape[2:])
        keys = example_keys(vary, nodes.ravel(), jnp.arange(pairs * ends))
        flat = vary_images(config, size, flat, keys)
        features, model_state = network.apply(
            params, model_state, prepare(flat, config.init), train=True
        )
        loss, metrics = _loss(config, features, batch, draw)
        if context is not None:
            drawn = jax.random.fold_in(draw, 1)
            own, accuracy = context.loss(params, batch, drawn)
            metrics |= {"ranking_loss": loss, "context_accuracy": accuracy}
            loss += config.context_weight * own
        return loss, (model_state, metrics)

    state, metrics = take_step(loss_fn, tx, state, batch, key)
    return state, metrics | {"layer_norms": layer_norms(state.opt_state)}


def vary_images(
    config: TripletConfig, size: int, images: jax.Array, keys: jax.Array
) -> jax.Array:
    """Return images [B, size, size, 3] as they are trained on, from bytes and keys."""
    # The random numbers of one must not be those of the other.
    keys = jax.vmap(jax.random.split)(keys)
    if config.least_part < 1:
        images = resized_crops(
            images, keys[:, 0], size=size, least=config.least_part, flip=True
        )
    else:
        whole = resized(images, size)
        images = augment(whole, keys[:, 0], size=size, padding=0, flip=True)
    if config.colour_jitter:
        images = jitter_colours(images, keys[:, 1], strength=config.colour_jitter)
    return images


def resized(images: jax.Array, size: int) -> jax.Array:
    """Return images [B, size, size, C] on the device, antialiased, of any dtype."""
    batch, height, width, channels = images.shape
    if (height, width) == (size, size):
        return images
    shape = (batch, size, size, channels)
    return jax.image.resize(images.astype(jnp.float32), shape, "linear")


def _eval_step(
    config: TripletConfig,
    network: Any,
    size: int,
    state: TrainState,
    batch: dict[str, jax.Array],
    shared: dict[str, jax.Array],
) -> dict[str, jax.Array]:
    images = _images(batch, shared)
    pairs, ends = images.shape[:2]
    flat = images.reshape(pairs * ends, *images.shape[2:])
    flat = prepare(resized(flat, size), config.init)
    features, _ = network.apply(state.params, state.model_state, flat)
    key = jax.random.fold_in(shared["key"], batch["node"][0, 0])
    loss, metrics = _loss(config, features, batch, key)
    sums = {name: pairs * value for name, value in (metrics | {"loss": loss}).items()}
    return sums | {"count": jnp.asarray(pairs)}


def _loss(
    config: TripletConfig,
    features: jax.Array,
    batch: dict[str, jax.Array],
    key: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    return ranking_loss(
        features.reshape(*batch["place"].shape, -1),
        batch["parent"],
        images=batch["place"],
        margin=config.margin,
        negatives=config.negatives,
        key=key,
        hardest_share=config.hardest_share,
        other_parents=config.other_parents,
    )


def _images(batch: dict[str, jax.Array], shared: dict[str, Any]) -> jax.Array:
    if "image" in batch:
        return batch["image"]
    return shared["image"][batch["place"]]
