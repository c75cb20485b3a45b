"""The game: two calls of `update` that take turns.

All methods of Section 5.1 are this step with other losses, so that they can be compared
on the same networks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.mgan.config import Config
from experiments.mgan.networks import make_discriminator, make_generators
from experiments.mgan.objectives import (
    Logits,
    classifier_loss,
    discriminator_loss,
    generator_loss,
    two_discriminator_generator_loss,
    two_discriminator_loss,
)
from experiments.mgan.optimizer import make_optimizer
from lars_jax.models import Network
from lars_jax.train import TrainState, update

Shared = dict[str, Any]
Draw = Callable[[jax.Array, Any, Shared], jax.Array]
"""From a key, a row of the batch and the shared data to real samples [B, ...]."""

Metrics = dict[str, jax.Array]
Step = Callable[[Any, Any, Shared], tuple[Any, Metrics]]


class Players(NamedTuple):
    """Networks and optimizers of both sides: the classifier is the discriminator's."""

    generators: Network
    discriminator: Network
    generator_tx: optax.GradientTransformation
    discriminator_tx: optax.GradientTransformation


class GameState(NamedTuple):
    """What a step changes.

    Attributes:
        generators: of all K; `params` has the logits of the mixture, too, where its
            weights are learned.
        judge: of discriminator and classifier.
        average: moving average of the generators' parameters.
    """

    generators: TrainState
    # Its name is the one that checkpoints have.
    judge: TrainState
    average: Any


def make_players(config: Config, channels: int = 3) -> Players:
    """Return the players of a configuration."""
    return Players(
        make_generators(config, channels),
        make_discriminator(config),
        make_optimizer(config, "generator"),
        make_optimizer(config, "discriminator"),
    )


def initial_state(
    config: Config, players: Players, key: jax.Array, sample_shape: tuple[int, ...]
) -> GameState:
    """Return the state before the first step, its weights drawn by a key.

    Args:
        config: of the game.
        players: of the same configuration.
        key: random key.
        sample_shape: shape of one sample, (2,) or (S, S, channels).
    """
    generator_key, discriminator_key = jax.random.split(key)
    noise = jnp.zeros((2, config.model.noise_size))
    network, model_state = players.generators.init(generator_key, noise)
    params = {"network": network}
    if config.rules.mixture == "learned":
        params["mixture"] = jnp.zeros(config.rules.generators)
    discriminator, _ = players.discriminator.init(
        discriminator_key, jnp.zeros((2, *sample_shape))
    )
    return GameState(
        TrainState.create(params, model_state, players.generator_tx),
        TrainState.create(discriminator, {}, players.discriminator_tx),
        # A copy: the step gives up its arguments' memory, each array once.
        jax.tree.map(jnp.copy, params),
    )


def mixture_weights(config: Config, params: Any) -> jax.Array:
    """Return the weights pi of the generators, float32 [K]."""
    if "mixture" in params:
        return jax.nn.softmax(params["mixture"])
    return jnp.full(config.rules.generators, 1 / config.rules.generators)


def draw_noise(config: Config, key: jax.Array, *shape: int) -> jax.Array:
    """Return noise, float32 [*shape, Z]."""
    shape = (*shape, config.model.noise_size)
    if config.model.noise == "uniform":
        return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
    return jax.random.normal(key, shape)


def make_step(
    config: Config,
    players: Players,
    draw: Draw,
    split: Callable[[jax.Array], jax.Array] = lambda samples: samples,
) -> Step:
    """Return one step of the game, a pure function.

    What it draws depends on `shared["key"]` and the number of the step alone.

    Args:
        config: of the game.
        players: of the same configuration.
        draw: gives real samples.
        split: says over which devices the samples of a batch lie, on axis 0.
    """

    def step(state: GameState, batch: Any, shared: Shared) -> tuple[GameState, Any]:
        key = jax.random.fold_in(shared["key"], state.generators.step)
        real_key, first_key, second_key, *side_keys = jax.random.split(key, 5)
        real = split(draw(real_key, batch, shared))
        noise = split(draw_noise(config, first_key, config.fakes))
        state, told = _train_discriminator(
            config, players, state, real, noise, side_keys[0]
        )
        if config.rules.noise_of_step == "fresh":
            noise = split(draw_noise(config, second_key, config.fakes))
        state, made = _train_generators(
            config, players, state, real, noise, side_keys[1]
        )
        nonfinite = jnp.concatenate([told.pop("nonfinite"), made.pop("nonfinite")])
        loss = told.pop("loss") + made.pop("loss")
        return state, told | made | {"loss": loss, "nonfinite": nonfinite}

    return step


def _train_discriminator(
    config: Config,
    players: Players,
    state: GameState,
    real: jax.Array,
    noise: jax.Array,
    key: jax.Array,
) -> tuple[GameState, Metrics]:
    """Return the state after a step of discriminator and classifier."""
    generators = state.generators
    # Their normalisation remembers these samples as well.
    fake, model_state = players.generators.apply(
        generators.params["network"], generators.model_state, noise, train=True
    )
    weights = mixture_weights(config, generators.params)

    def loss_fn(params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
        del key
        loss, metrics = discriminator_losses(config, players, params, *batch)
        return loss, (model_state, metrics)

    tx, batch = players.discriminator_tx, (real, fake, weights)
    discriminator, metrics = update(loss_fn, tx, state.judge, batch, key)
    generators = generators._replace(model_state=model_state)
    return state._replace(generators=generators, judge=discriminator), metrics


def _train_generators(
    config: Config,
    players: Players,
    state: GameState,
    real: jax.Array,
    noise: jax.Array,
    key: jax.Array,
) -> tuple[GameState, Metrics]:
    """Return the state after a step of all generators against the discriminator."""

    def loss_fn(params: Any, model_state: Any, noise: Any, key: jax.Array) -> Any:
        del key
        fake, model_state = players.generators.apply(
            params["network"], model_state, noise, train=True
        )
        weights, against = mixture_weights(config, params), state.judge.params
        if config.rules.game == "unrolled":
            against = _look_ahead(config, players, state.judge, real, fake, weights)
        loss = generator_losses(config, players, against, fake, weights)
        return loss, (model_state, {"generator_loss": loss})

    generators, metrics = update(
        loss_fn, players.generator_tx, state.generators, noise, key
    )
    decay = config.average_decay
    average = jax.tree.map(
        lambda a, p: decay * a + (1 - decay) * p, state.average, generators.params
    )
    return state._replace(generators=generators, average=average), metrics


def discriminator_losses(
    config: Config,
    players: Players,
    params: Any,
    real: jax.Array,
    fake: jax.Array,
    weights: jax.Array,
) -> tuple[jax.Array, Metrics]:
    """Return what discriminator and classifier minimise, with its parts.

    Args:
        config: of the game.
        players: of the same configuration.
        params: of discriminator and classifier.
        real: samples of the data, [B, ...].
        fake: samples of the generators, [M, K, ...].
        weights: pi, [K].
    """
    of_real: Any = players.discriminator.apply(params, {}, real, train=True)[0]
    of_fake = logits_of_fakes(players, params, fake)
    if config.rules.game == "d2gan":
        loss = two_discriminator_loss(of_real, of_fake)
        return loss, {"discriminator_loss": loss}
    adversarial = discriminator_loss(of_real.realness, of_fake.realness, weights)
    diversity = classifier_loss(of_fake.generators, weights)
    loss = adversarial + config.rules.classifier_weight * diversity
    own = jnp.arange(config.rules.generators)
    hits = jnp.argmax(of_fake.generators, axis=-1) == own[None]
    return loss, {
        "discriminator_loss": adversarial,
        "classifier_loss": diversity,
        "classifier_accuracy": jnp.mean(hits.astype(jnp.float32)),
    }


def logits_of_fakes(players: Players, params: Any, fake: jax.Array) -> Any:
    """Return the logits of samples [M, K, ...], in that shape; of D2GAN [M, 2]."""
    flat = fake.reshape(-1, *fake.shape[2:])
    logits, _ = players.discriminator.apply(params, {}, flat, train=True)
    if not isinstance(logits, Logits):
        return logits
    return jax.tree.map(lambda x: x.reshape(*fake.shape[:2], *x.shape[1:]), logits)


def generator_losses(
    config: Config, players: Players, opponent: Any, fake: jax.Array, weights: jax.Array
) -> jax.Array:
    """Return what the generators minimise.

    Args:
        config: of the game.
        players: of the same configuration.
        opponent: parameters of discriminator and classifier.
        fake: samples of the generators, [M, K, ...].
        weights: pi, [K].
    """
    logits = logits_of_fakes(players, opponent, fake)
    if config.rules.game == "d2gan":
        return two_discriminator_generator_loss(logits)
    adversarial = generator_loss(logits.realness, weights, config.rules.generator_loss)
    diversity = classifier_loss(logits.generators, weights)
    return adversarial + config.rules.diversity * diversity


def _look_ahead(
    config: Config,
    players: Players,
    opponent: TrainState,
    real: jax.Array,
    fake: jax.Array,
    weights: jax.Array,
) -> Any:
    """Return a discriminator that has trained on these samples some steps more.

    The generator's gradient goes through those steps (Metz et al. 2017, Equation 7).
    """

    def one(carry: Any, _: None) -> tuple[Any, None]:
        params, opt_state = carry
        gradient = jax.grad(
            lambda p: discriminator_losses(config, players, p, real, fake, weights)[0]
        )(params)
        updates, opt_state = players.discriminator_tx.update(
            gradient, opt_state, params
        )
        return (optax.apply_updates(params, updates), opt_state), None

    carry = opponent.params, opponent.opt_state
    (params, _), _ = jax.lax.scan(one, carry, length=config.rules.unrolled_steps)
    return params
