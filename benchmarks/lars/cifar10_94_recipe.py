"""Images, optimizers and averages that reach 94 % of CIFAR-10 in ten epochs.

The recipe and its figures are those of airbench94 (Jordan: 94% on CIFAR-10 in 3.29
Seconds on a Single GPU, 2024, https://arxiv.org/abs/2404.00498), in the version trained
by SGD with Nesterov momentum. `lars` may take its place for the kernels.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from benchmarks.lars.cifar10_94_network import average_views, whitening
from lars_jax import lars
from lars_jax.data import (
    KNOWN_STATISTICS,
    ResidentImages,
    augment,
    example_keys,
    normalize,
)
from lars_jax.models import Network

Optimizer = Literal["nesterov", "lars"]

WHITENING_IMAGES = 5000
"""Images whose patches are whitened."""

BIAS_EPOCHS = 3
"""Epochs after which the bias of the whitening stays as it is."""

RATES: dict[Optimizer, float] = {"nesterov": 11.5, "lars": 16.0}
"""Peak rates: by Nesterov per 1,024 examples, whatever the momentum; gamma of LARS."""

DECAY = 0.0153
"""What 1,024 examples take off the weights at Nesterov's peak rate."""

MOMENTUM, BIAS_FACTOR, SMOOTHING = 0.85, 64.0, 0.2
"""Momentum, rate of the biases of normalisation over that of kernels, and the share of
a label that all classes share."""

PADDING = 2
"""Pixels that a training image is moved by at most."""


def vary(
    images: jax.Array, index: jax.Array, epoch: jax.Array, key: jax.Array
) -> jax.Array:
    """Return images moved by up to two pixels, and mirrored in every second epoch.

    Args:
        images: uint8 [B, H, W, C].
        index: int32 [B], examples in their source.
        epoch: int32, of all of them.
        key: of the run; with index and epoch it decides everything.

    Returns:
        uint8 [B, H, W, C].
    """
    move_key, mirror_key = (jax.random.fold_in(key, use) for use in range(2))
    sides = ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0))
    moved = augment(
        jnp.pad(images, sides, mode="reflect"),
        example_keys(move_key, index, jnp.full_like(index, epoch)),
        size=images.shape[1],
        padding=0,
        flip=False,
    )
    mirror = mirrored(index, epoch, mirror_key)[:, None, None, None]
    return jnp.where(mirror, moved[:, :, ::-1], moved)


def mirrored(index: jax.Array, epoch: jax.Array, key: jax.Array) -> jax.Array:
    """Return which examples an epoch shows mirrored, bool [B].

    Half of them in the first, by their number; in each that follows the other half, so
    that two epochs show both sides of every image.

    >>> index, key = jnp.arange(4), jax.random.key(1)
    >>> print(*(mirrored(index, jnp.int32(epoch), key) for epoch in range(3)))
    [False  True False  True] [ True False  True False] [False  True False  True]
    """
    first = jax.vmap(lambda i: jax.random.bernoulli(jax.random.fold_in(key, i)))(index)
    return first != (epoch % 2 == 1)


def triangle(step: jax.Array, total: int) -> jax.Array:
    """Return the share of the peak rate: 0.2, up to 1 in 23 % of the steps, to 0.07.

    >>> [round(float(triangle(jnp.int32(step), 100)), 3) for step in (0, 23, 100)]
    [0.2, 1.0, 0.07]
    """
    ends = jnp.array([0, max(1, int(0.23 * total)), total], jnp.float32)
    return jnp.interp(step.astype(jnp.float32), ends, jnp.array([0.2, 1.0, 0.07]))


def lookahead(slow: Any, fast: Any, done: jax.Array, total: int) -> tuple[Any, Any]:
    """Return slow and fast weights after a step, one tree each.

    After every fifth step, s <- d s + (1 - d) f and f <- s with d = 0.95^5 (done /
    total)^3; after the last f <- s alone.

    Args:
        slow: averages, weights and running statistics.
        fast: what was trained, of the same structure.
        done: int32, steps so far, this one included.
        total: steps of the whole training.
    """
    fifth = done % 5 == 0
    decay = 0.95**5 * (done.astype(jnp.float32) / total) ** 3
    slow = jax.tree.map(
        lambda s, f: jnp.where(fifth, decay * s + (1 - decay) * f, s), slow, fast
    )
    taken = fifth | (done == total)
    return slow, jax.tree.map(lambda s, f: jnp.where(taken, s, f), slow, fast)


def groups(params: Any) -> Any:
    """Return the name of its group for every leaf of the network's parameters."""

    def name(path: Any, leaf: Any) -> str:
        del leaf
        layer, kind = path[-2].key, path[-1].key
        if layer == "whitening":
            return "frozen" if kind == "kernel" else "whitening bias"
        return kind

    return jax.tree_util.tree_map_with_path(name, params)


def make_optimizer(
    name: Optimizer, rate: Any, *, batch: int, steps: int, bias_steps: int
) -> optax.GradientTransformation:
    """Return the optimizer of a run, for gradients of the mean loss.

    Args:
        name: what moves the kernels; biases are moved by Nesterov momentum always.
        rate: of the kernels at its peak, in the unit of `RATES`; may be traced.
        batch: examples of a step.
        steps: of the whole training.
        bias_steps: those in which the bias of the whitening is trained.
    """
    # A constant gradient g moves weights by g (1 + 1 / (1 - m)), as the recipe counts.
    nesterov_peak = batch / (1024 * (1 + 1 / (1 - MOMENTUM)))
    decay = DECAY / RATES["nesterov"]

    def nesterov(rate: Any, decay: float) -> optax.GradientTransformation:
        def schedule(step: Any) -> jax.Array:
            return rate * nesterov_peak * triangle(step, steps)

        return optax.chain(
            optax.add_decayed_weights(decay),
            optax.sgd(schedule, MOMENTUM, nesterov=True),
        )

    def early(step: Any) -> jax.Array:
        return jnp.where(step < bias_steps, 1.0, 0.0)

    usual = rate if name == "nesterov" else RATES["nesterov"]
    kernels = nesterov(usual, decay)
    if name == "lars":
        kernels = lars(
            lambda step: rate * triangle(jnp.asarray(step), steps),
            decay,
            momentum=MOMENTUM,
            nesterov=True,
            telemetry=False,
        )
    return optax.partition(
        {
            "kernel": kernels,
            # Their decay is as strong as that of the others, at 64 times the rate.
            "bias": nesterov(BIAS_FACTOR * usual, decay / BIAS_FACTOR),
            "whitening bias": optax.chain(
                nesterov(usual, decay), optax.scale_by_schedule(early)
            ),
            "frozen": optax.set_to_zero(),
        },
        groups,
    )


def loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the mean cross-entropy with smoothed labels, int32 [B]."""
    classes = logits.shape[-1]
    targets = optax.smooth_labels(jax.nn.one_hot(labels, classes), SMOOTHING)
    return optax.softmax_cross_entropy(logits, targets).mean()


class Images(NamedTuple):
    """Labelled images on the device."""

    image: ResidentImages
    label: jax.Array


class Shared(NamedTuple):
    """What the steps of a run read: examples by epoch, int32 [E, N], and a key."""

    order: jax.Array
    key: jax.Array


class State(NamedTuple):
    """What a step changes; `slow` are the averages of parameters and statistics."""

    step: jax.Array
    params: Any
    statistics: Any
    slow: Any
    optimizer: Any


@dataclass(frozen=True)
class Training:
    """A training as pure functions: `begin`, `advance`, `count_right`.

    Attributes:
        optimizer: what moves the kernels.
        network: from `cifar10_94_network`.
        examples: number of images to train on.
        batch: examples of a step.
        epochs: length; an epoch is the whole batches that the examples give.
    """

    optimizer: Optimizer
    network: Network
    examples: int
    batch: int
    epochs: float

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch."""
        return self.examples // self.batch

    @property
    def steps(self) -> int:
        """Steps of the training."""
        return max(1, math.ceil(round(self.per_epoch * self.epochs, 6)))

    def ends(self, each_epoch: bool) -> list[int]:
        """Return the steps after which a run is evaluated, its last among them."""
        if not each_epoch:
            return [self.steps]
        return [*range(self.per_epoch, self.steps, self.per_epoch), self.steps]

    def begin(self, key: jax.Array, data: Images) -> tuple[State, Shared]:
        """Return the state before the first step, and what all steps read."""
        init_key, order_key, vary_key = jax.random.split(key, 3)
        first = normalized(data.image[:WHITENING_IMAGES])
        params, statistics = self.network.init(init_key, first[:1])
        params["whitening"]["kernel"] = whitening(first)
        keys = jax.random.split(order_key, math.ceil(self.epochs))
        order = jax.vmap(lambda key: jax.random.permutation(key, self.examples))(keys)
        slow, optimizer = (params, statistics), self._tx(0.0).init(params)
        state = State(jnp.int32(0), params, statistics, slow, optimizer)
        return state, Shared(order.astype(jnp.int32), vary_key)

    def advance(
        self, state: State, shared: Shared, data: Images, rate: Any, stop: Any
    ) -> State:
        """Return the state after step `stop`; rate and stop are arrays.

        So one program trains at every rate, whole or an epoch at a time.
        """

        def step(state: State) -> State:
            return self._step(state, shared, data, rate)

        return jax.lax.while_loop(lambda state: state.step < stop, step, state)

    def count_right(
        self,
        params: Any,
        statistics: Any,
        held: Images,
        *,
        views: Literal["one", "six"],
        size: int = 500,
    ) -> jax.Array:
        """Return the number of images whose largest logit is that of their class.

        Args:
            params: of the network.
            statistics: those that normalise.
            held: images and their classes.
            views: of each image, see `average_views`.
            size: images at a time, fewer where it does not divide their number.
        """

        def logits(images: jax.Array) -> jax.Array:
            return self.network.apply(params, statistics, images)[0]

        def count(part: Images) -> jax.Array:
            images = normalized(part.image[:])
            found = average_views(logits, images, views)
            return jnp.sum(jnp.argmax(found, axis=-1) == part.label)

        size = math.gcd(len(held.label), size)
        parts = jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), held)
        return jnp.sum(jax.lax.map(count, parts))

    def _step(self, state: State, shared: Shared, data: Images, rate: Any) -> State:
        epoch, place = jnp.divmod(state.step, self.per_epoch)
        start, size = (epoch, place * self.batch), (1, self.batch)
        index = jax.lax.dynamic_slice(shared.order, start, size)[0]
        varied = vary(data.image[index], index, epoch, shared.key)
        images = normalized(varied)

        def objective(params: Any) -> tuple[jax.Array, Any]:
            logits, statistics = self.network.apply(
                params, state.statistics, images, train=True
            )
            return loss(logits, data.label[index]), statistics

        gradients, statistics = jax.grad(objective, has_aux=True)(state.params)
        tx = self._tx(rate)
        updates, optimizer = tx.update(gradients, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        done = state.step + 1
        slow, fast = lookahead(state.slow, (params, statistics), done, self.steps)
        return State(done, fast[0], fast[1], slow, optimizer)

    def _tx(self, rate: Any) -> optax.GradientTransformation:
        return make_optimizer(
            self.optimizer,
            rate,
            batch=self.batch,
            steps=self.steps,
            bias_steps=BIAS_EPOCHS * self.per_epoch,
        )


def normalized(images: jax.Array) -> jax.Array:
    """Return bytes as the network takes them."""
    return normalize(images, *KNOWN_STATISTICS["cifar10"])
