"""The compiled pieces of a run: one training step, one evaluation step.

Batches come in two forms. A data set that lives on the device is passed whole to every
step, and a batch is a row of indices into it; a data set that is fed brings its images
in the batch. Cropping, mirroring and normalisation happen inside the step in both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AbstractMesh, Mesh

from experiments.lars.config import Config
from experiments.lars.optimizer import learning_rate, make_optimizer
from lars_jax.data import augment, center_crop, example_keys, normalize
from lars_jax.models import Network, batch_statistics, build, merge_running
from lars_jax.optim import layer_norms
from lars_jax.train import (
    DataParallel,
    TrainState,
    gathered,
    parameter_shardings,
    state_shardings,
    update,
)
from lars_jax.train.ahead import AheadOfTime
from lars_jax.train.update import LossFn

Batch = dict[str, jax.Array]
Shared = dict[str, Any]
Step = Callable[..., Any]


@dataclass(frozen=True)
class ImageFacts:
    """What a network and its preprocessing must know of a data set."""

    num_classes: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Steps:
    """Programs over a mesh; numbers that a sweep varies live in the state, not in here.

    Attributes:
        train_step: `(state, batch, shared) -> (state, metrics)`, all steps of a call.
        eval_step: `(state, batch, shared) -> sums`, see `lars_jax.train.evaluate`.
        predict: `(state, batch, shared) -> (probabilities [B, classes], labels [B])`.
        statistics: `(state, batch, shared) -> model_state` of one batch alone.
        network: the network, as evaluation applies it.
        shapes: of the state, with their shardings.
    """

    train_step: AheadOfTime
    eval_step: AheadOfTime
    predict: AheadOfTime
    statistics: AheadOfTime
    network: Network
    shapes: TrainState


def build_program(
    config: Config,
    facts: ImageFacts,
    parallel: DataParallel,
    train_step: AheadOfTime | None = None,
) -> Steps:
    """Return the steps of a run, not yet compiled.

    Args:
        config: the run, its parts and its span resolved.
        facts: of its data.
        parallel: its mesh and back-end.
        train_step: of `build_train_step` for the same arguments; None: a new one.
    """
    network = make_network(config, facts)
    shapes = state_shapes(config, facts, parallel.mesh)
    split = None if config.state_sharding == "none" else shardings(shapes)
    # Evaluation is the same under every back-end.
    evaluating = DataParallel(parallel.mesh, "jit")

    def pure(step: Step) -> AheadOfTime:
        return AheadOfTime(evaluating.compile_pure(step, split))

    def logits_and_labels(state: TrainState, batch: Batch, shared: Shared) -> Any:
        images = prepare(config, facts, batch, shared, train=False)
        logits, _ = network.apply(state.params, state.model_state, images)
        return logits, pick(batch, shared, "label")

    def eval_step(state: TrainState, batch: Batch, shared: Shared) -> Shared:
        logits, labels = logits_and_labels(state, batch, shared)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        hits = jnp.argmax(logits, axis=-1) == labels
        mask = batch["mask"]
        return {
            "loss": jnp.sum(jnp.where(mask, losses, 0.0)),
            "accuracy": jnp.sum(hits & mask),
            "count": jnp.sum(mask),
        }

    def predict(state: TrainState, batch: Batch, shared: Shared) -> Any:
        logits, labels = logits_and_labels(state, batch, shared)
        return jax.nn.softmax(logits), labels

    def statistics(state: TrainState, batch: Batch, shared: Shared) -> Any:
        images = prepare(config, facts, batch, shared, train=True)
        return batch_statistics(
            network, state.params, state.model_state, images, shared["key"]
        )

    return Steps(
        train_step=train_step or AheadOfTime(build_train_step(config, facts, parallel)),
        eval_step=pure(eval_step),
        predict=pure(predict),
        statistics=pure(statistics),
        network=network,
        shapes=shapes,
    )


def make_state(
    config: Config,
    facts: ImageFacts,
    network: Network,
    key: jax.Array,
    *,
    total_steps: int = 1,
    steps_per_epoch: float = 1.0,
) -> TrainState:
    """Return the state at step 0 with weights drawn by a key.

    The lengths of run and epoch are numbers in the state and change no shape.
    """
    side = config.data.image_size
    params, model_state = network.init(key, jnp.zeros((2, side, side, facts.channels)))
    tx = make_optimizer(
        config.optimizer, total_steps=total_steps, steps_per_epoch=steps_per_epoch
    )
    return TrainState.create(params, model_state, tx)


def state_shapes(
    config: Config, facts: ImageFacts, mesh: Mesh | AbstractMesh | None = None
) -> TrainState:
    """Return the shapes of the state of a configuration, and where a mesh has it."""
    network = make_network(config, facts)
    found = jax.eval_shape(
        lambda: make_state(config, facts, network, jax.random.key(0))
    )
    if mesh is None:
        return found
    places = state_shardings(found, mesh, config.state_sharding)
    return jax.tree.map(lambda x, place: x.update(sharding=place), found, places)


def shardings(shapes: Any) -> Any:
    """Return where the arrays lie whose shapes these are."""
    return jax.tree.map(lambda x: x.sharding, shapes)


def build_train_step(config: Config, facts: ImageFacts, parallel: DataParallel) -> Step:
    """Return the training step over the mesh, not yet compiled, or a call of several.

    Those of a call lie side by side on axis 1 of the batch; its metrics are those of
    the last, but for what was not finite in any.

    `shared["key"]` is the key of the seed. What an image looks like depends on it and
    on the image's example and epoch alone; what is dropped, on it, the step and the
    example. Neither depends on devices or micro-batches.
    """
    network = make_network(config, facts, parallel)
    # Of this optimizer only the rules are used: its numbers are in the state.
    tx = make_optimizer(config.optimizer, total_steps=1, steps_per_epoch=1.0)
    places = gradients = None
    if config.state_sharding != "none":
        shapes = state_shapes(config, facts, parallel.mesh)
        places = shardings(shapes)
        gradients = parameter_shardings(shapes.params, parallel.mesh)

    def train_step(state: TrainState, batch: Batch, shared: Shared) -> Any:
        key = jax.random.fold_in(shared["key"], state.step)
        dropping = jax.random.fold_in(key, 0)
        rate = learning_rate(config.optimizer, state.opt_state, state.step)
        loss_fn = make_loss(config, facts, network, shared, dropping)
        state, metrics = update(
            loss_fn if gradients is None else gathered(loss_fn, gradients),
            tx,
            state,
            batch,
            key,
            microbatches=config.parts,
            unit=config.model.span or 1,
            merge=merge_running,
            axis_name=parallel.axis_name,
            # As parameters, gradients are float32 unless something else is asked for.
            sum_dtype=None if config.gradient_sums == "auto" else config.gradient_sums,
            sharding=parallel.sharded if parallel.backend == "jit" else None,
        )
        norms = layer_norms(state.opt_state)
        return state, metrics | {"learning_rate": rate, "layer_norms": norms}

    one = config.steps_per_call == 1
    return parallel.compile(train_step if one else _in_a_row(train_step), places)


def _in_a_row(step: Step) -> Step:
    def call(state: TrainState, batch: Batch, shared: Shared) -> Any:
        rows = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), batch)
        state, metrics = jax.lax.scan(
            lambda state, row: step(state, row, shared), state, rows
        )
        nonfinite = jnp.any(metrics["nonfinite"], axis=0)
        last = jax.tree.map(lambda values: values[-1], metrics)
        return state, last | {"nonfinite": nonfinite}

    return call


def _wide_gradients(config: Config, parallel: DataParallel) -> bool:
    """Tell whether layers compute gradients in more than the dtype of products."""
    if parallel.num_devices == 1 or config.model.dtype == "float32":
        return False
    # On a TPU it costs nothing. For a GPU operands are copied into float32: ResNet-50
    # takes 18 GiB of temporaries in place of 10. Mapped steps have sums of their own.
    on_gpus = parallel.mesh.devices.flat[0].platform in ("gpu", "cuda", "rocm")
    if on_gpus:
        return config.gradient_sums == "float32" and parallel.backend == "jit"
    return config.gradient_sums != "bfloat16"


def make_loss(
    config: Config,
    facts: ImageFacts,
    network: Network,
    shared: Shared,
    dropping: jax.Array,
) -> LossFn:
    """Return the mean softmax cross-entropy of a batch, as `update` wants it.

    `dropping` is the key of the step's dropout: the same for all micro-batches, whose
    examples tell their masks apart.
    """

    def loss_fn(params: Any, model_state: Any, batch: Batch, key: jax.Array) -> Any:
        del key
        images = prepare(config, facts, batch, shared, train=True)
        labels = pick(batch, shared, "label")
        logits, model_state = network.apply(
            params,
            model_state,
            images,
            train=True,
            key=dropping,
            examples=batch["index"],
        )
        targets = optax.smooth_labels(
            jax.nn.one_hot(labels, facts.num_classes), config.label_smoothing
        )
        loss = jnp.mean(optax.softmax_cross_entropy(logits, targets))
        accuracy = jnp.mean((jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32))
        return loss, (model_state, {"accuracy": accuracy})

    return loss_fn


def prepare(
    config: Config, facts: ImageFacts, batch: Batch, shared: Shared, *, train: bool
) -> jax.Array:
    """Return the images of a batch as the network wants them, float [B, S, S, C]."""
    images = pick(batch, shared, "image")
    data = config.data
    if train and data.augmentation != "none":
        keys = example_keys(shared["key"], batch["index"], batch["epoch"])
        images = augment(
            images,
            keys,
            size=data.image_size,
            # A random part is cut to its size by the host; only mirroring is left.
            padding=data.crop_padding if data.augmentation == "crop" else 0,
            flip=data.flip,
        )
    else:
        images = center_crop(images, data.image_size)
        if train and data.flip:
            keys = example_keys(shared["key"], batch["index"], batch["epoch"])
            images = augment(images, keys, size=data.image_size, padding=0, flip=True)
    return normalize(images, facts.mean, facts.std, jnp.dtype(config.model.dtype))


def pick(batch: Batch, shared: Shared, name: str) -> jax.Array:
    """Return what a batch brings along, or what it points to in the shared data."""
    return batch[name] if name in batch else shared[name][batch["index"]]


def make_network(
    config: Config, facts: ImageFacts, parallel: DataParallel | None = None
) -> Network:
    """Return the network of a configuration, as a training step over a mesh has it.

    Without a mesh it is as evaluation applies it.
    """
    model = config.model
    return build(
        model.network,
        facts.num_classes,
        dtype=jnp.dtype(model.dtype),
        stride_in=model.stride_in,
        width=model.width,
        stem_stride=model.stem_stride,
        bn_span=model.span,
        # Only a mapped step has an axis for batch normalisation to average over.
        axis_name=None if parallel is None else parallel.axis_name,
        wide_gradients=parallel is not None and _wide_gradients(config, parallel),
    )
