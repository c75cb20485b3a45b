"""A step of the game: what it equals, what it leaves alone, and what it follows."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.mgan.config import Config
from experiments.mgan.game import (
    discriminator_losses,
    draw_noise,
    generator_losses,
    initial_state,
    make_players,
    make_step,
    mixture_weights,
)
from experiments.mgan.mixture import make_mixture
from lars_jax.train.config import replace_fields
from tests.cases import mostly_slow
from tests.experiments.mgan.support import close, largest_gap, same_bits

K = 3
SMALL = replace_fields(
    Config(),
    generators=K,
    width=16,
    noise_size=6,
    init_deviation=0.3,
    batch=32,
    fakes=8,
    steps=8,
    average_decay=0.75,
)
ALONE = replace_fields(SMALL, generators=1, fakes=24)
UNROLLED = replace_fields(
    ALONE,
    **{"game": "unrolled", "unrolled_steps": 2, "generator_loss": "saturating"},
    discriminator_rate=0.01,
)
GAMES = {
    "mgan": SMALL,
    "gan": ALONE,
    "learned": replace_fields(
        SMALL, mixture="learned", noise_of_step="shared", noise="uniform"
    ),
    "d2gan": replace_fields(ALONE, game="d2gan"),
    "unrolled": UNROLLED,
}
EACH = pytest.mark.parametrize(
    "config", mostly_slow({name: (game,) for name, game in GAMES.items()}, ["mgan"])
)


def shared(seed=5):
    return {"key": jax.random.key(seed)}


@cache
def begin(config):
    """Return players, the state before the first step, and a compiled step."""
    players = make_players(config)
    start = jax.jit(partial(initial_state, config, players, sample_shape=(2,)))
    state = start(key=jax.random.key(0))
    return players, state, jax.jit(make_step(config, players, draw_of(config)))


def draw_of(config):
    mixture = make_mixture(config.data)
    return lambda key, *_: mixture.draw(key, config.batch)


def play(config, steps, seed=5, rates=None):
    """Return the last of the states, and the metrics of the last step.

    Args:
        config: of the game.
        steps: to play.
        seed: of the steps.
        rates: of `generators` and of `judge`, where they are not those of the game;
            they are numbers of the state, so nothing is compiled for them.
    """
    _, state, step = begin(config)
    for side, rate in (rates or {}).items():
        own = getattr(state, side)
        numbers = own.opt_state.hyperparams | {"rate": jnp.float32(rate)}
        opt_state = own.opt_state._replace(hyperparams=numbers)
        state = state._replace(**{side: own._replace(opt_state=opt_state)})
    metrics = {}
    for _ in range(steps):
        state, metrics = step(state, {}, shared(seed))
    return state, metrics


def samples_of(config):
    """Return players, weights of both sides, noise and real samples."""
    players, state, _ = begin(config)
    keys = jax.random.split(jax.random.key(7), 2)
    noise = draw_noise(config, keys[0], config.fakes)
    real = draw_of(config)(keys[1])
    return players, state.generators.params, state.judge.params, noise, real


def dense(layer, x):
    return x @ layer["kernel"] + layer["bias"][None]


def plain_generator(params, noise):
    first = params["first"]
    kernel = first["kernel"].reshape(len(first["kernel"]), -1)
    hidden = (noise @ kernel).reshape(-1, 1, kernel.shape[1]) + first["bias"][None]
    hidden = jax.nn.relu(hidden).reshape(-1, kernel.shape[1])
    hidden = jax.nn.relu(dense(params["second"], hidden))
    return dense(params["output"], hidden)


def plain_discriminator(params, points):
    trunk = dense(params["trunk"], points)
    trunk = jnp.where(trunk >= 0, trunk, 0.2 * trunk)
    return dense(params["discriminator"], trunk)[:, 0]


def plain_gan(config, state, steps):
    """Return what a GAN without classifier makes of the same weights and keys."""
    optimizer = config.optimizer
    # Decays are float32 numbers of the state, so 1 - b2 is theirs and not Python's.
    adam = partial(
        optax.inject_hyperparams(optax.adam),
        b1=optimizer.momentum,
        b2=optimizer.second_momentum,
    )
    generator_tx = adam(optimizer.generator_rate)
    discriminator_tx = adam(optimizer.discriminator_rate)
    mixture = make_mixture(config.data)

    def judge_loss(params, real, fake):
        of_real = plain_discriminator(params, real)
        of_fake = plain_discriminator(params, fake)
        return jnp.mean(jax.nn.softplus(-of_real)) + jnp.mean(jax.nn.softplus(of_fake))

    def generator_loss(params, judge, noise):
        fake = plain_generator(params, noise)
        return jnp.mean(jax.nn.softplus(-plain_discriminator(judge, fake)))

    @jax.jit
    def step(number, generator, judge, generator_opt, judge_opt):
        key = jax.random.fold_in(jax.random.key(5), number)
        real_key, first, second, _, _ = jax.random.split(key, 5)
        shape = (config.fakes, config.model.noise_size)
        real = mixture.draw(real_key, config.batch)
        fake = plain_generator(generator, jax.random.normal(first, shape))
        gradient = jax.grad(judge_loss)(judge, real, fake)
        updates, judge_opt = discriminator_tx.update(gradient, judge_opt)
        judge = optax.apply_updates(judge, updates)
        noise = jax.random.normal(second, shape)
        gradient = jax.grad(generator_loss)(generator, judge, noise)
        updates, generator_opt = generator_tx.update(gradient, generator_opt)
        generator = optax.apply_updates(generator, updates)
        return generator, judge, generator_opt, judge_opt

    generator = state.generators.params["network"]
    judge = {name: state.judge.params[name] for name in ("trunk", "discriminator")}
    players = (
        generator,
        judge,
        generator_tx.init(generator),
        discriminator_tx.init(judge),
    )
    with jax.numpy_dtype_promotion("standard"):
        for number in range(steps):
            players = step(number, *players)
    return players[:2]


@pytest.mark.slow
def test_one_generator_is_a_plain_gan_bit_for_bit():
    players, state, _ = begin(ALONE)
    generator, judge = plain_gan(ALONE, state, 3)
    after, _ = play(ALONE, 3)
    same_bits(after.generators.params["network"], generator)
    found = dict(after.judge.params)
    # The head of the classifier has nothing to learn and no say.
    same_bits(found.pop("classifier"), state.judge.params["classifier"])
    same_bits(found, judge)
    assert largest_gap(after.generators.params, state.generators.params) > 1e-4


@EACH
def test_steps_train_both_sides_and_are_a_function_of_seed_and_step(config):
    _, before, step = begin(config)
    first, _ = step(before, {}, shared())
    after, metrics = step(first, {}, shared())
    assert not metrics["nonfinite"].any()
    assert np.isfinite(metrics["loss"])
    for side in ("generators", "judge"):
        one, other = getattr(before, side), getattr(after, side)
        assert other.step == 2
        assert largest_gap(one.params, other.params) > 1e-4
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(other.params))
    # As a run that is resumed.
    restored = jax.tree.map(jnp.asarray, jax.device_get(first))
    same_bits(step(restored, {}, shared())[0], after)
    other, _ = step(first, {}, shared(6))
    assert largest_gap(other.judge.params, after.judge.params) > 0


@pytest.mark.parametrize("side", ["generators", "judge"])
def test_side_that_does_not_learn_keeps_its_weights_while_the_other_learns(side):
    other = ({"generators", "judge"} - {side}).pop()
    _, before, _ = begin(SMALL)
    after, _ = play(SMALL, 2, rates={side: 0.0})
    same_bits(getattr(after, side).params, getattr(before, side).params)
    gap = largest_gap(getattr(after, other).params, getattr(before, other).params)
    assert gap > 1e-4


def loss_of_generators(config, judge, number):
    """Return the loss of the first step's generators on its noise of a number."""
    players, before, _ = begin(config)
    keys = jax.random.split(jax.random.fold_in(shared()["key"], 0), 5)
    noise = draw_noise(config, keys[number], config.fakes)
    params = before.generators.params
    fake, _ = players.generators.apply(params["network"], {}, noise, train=True)
    weights = mixture_weights(config, params)
    return generator_losses(config, players, judge.params, fake, weights)


def test_generators_learn_from_the_discriminator_that_has_just_learned():
    _, before, _ = begin(SMALL)
    after, metrics = play(SMALL, 1, rates={"judge": 0.1})
    losses = [loss_of_generators(SMALL, s.judge, 2) for s in (before, after)]
    np.testing.assert_allclose(metrics["generator_loss"], losses[1], rtol=1e-5)
    assert abs(losses[0] - losses[1]) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("noise_of_step", ["fresh", "shared"])
def test_noise_is_drawn_for_each_side_or_once_for_both(noise_of_step):
    # With no learning, the loss of generators tells which noise they were given.
    config = SMALL if noise_of_step == "fresh" else GAMES["learned"]
    _, before, _ = begin(config)
    _, metrics = play(config, 1, rates={"judge": 0.0})
    gap = abs(metrics["generator_loss"] - loss_of_generators(config, before.judge, 1))
    assert gap < 1e-6 if noise_of_step == "shared" else gap > 1e-4


@cache
def gradient_of(config):
    """Return a compiled gradient of the generators by weights, judge and diversity."""
    players, _, _, noise, _ = samples_of(config)

    @jax.jit
    @jax.grad
    def gradient(params, judge, diversity):
        fake, _ = players.generators.apply(params["network"], {}, noise, train=True)
        weights = mixture_weights(config, params)
        weighed = replace_fields(config, diversity=diversity)
        return generator_losses(weighed, players, judge, fake, weights)

    return gradient


def generators_gradient(diversity, judge_change=lambda judge: judge, config=SMALL):
    _, params, judge, _, _ = samples_of(config)
    return gradient_of(config)(params, judge_change(judge), jnp.float32(diversity))


def with_other_classifier(judge):
    return judge | {
        "classifier": jax.tree.map(lambda x: 3 * x + 1, judge["classifier"])
    }


def with_bent_classifier(judge):
    head = judge["classifier"]
    return judge | {"classifier": head | {"kernel": -2 * head["kernel"]}}


@pytest.mark.slow
def test_generators_feel_the_classifier_by_the_weight_of_diversity():
    none, one, three = (generators_gradient(beta) for beta in (0.0, 1.0, 3.0))
    same_bits(none, generators_gradient(0.0, with_bent_classifier))
    assert largest_gap(one, generators_gradient(1.0, with_bent_classifier)) > 1e-4
    thrice = jax.tree.map(lambda a, b: a + 3 * (b - a), none, one)
    close(three, thrice, atol=1e-5)


def test_diversity_is_not_the_weight_of_the_classifiers_own_loss():
    same_bits(
        play(SMALL, 1)[0].judge, play(replace_fields(SMALL, diversity=9.0), 1)[0].judge
    )


def test_weight_of_the_classifier_scales_what_it_learns_from():
    players, params, judge, noise, real = samples_of(SMALL)
    fake, _ = players.generators.apply(params["network"], {}, noise, train=True)
    weights = mixture_weights(SMALL, params)
    losses = {}
    for weight in (0.0, 1.0, 0.125):
        config = replace_fields(SMALL, classifier_weight=weight)
        losses[weight], parts = discriminator_losses(
            config, players, judge, real, fake, weights
        )
        expected = parts["discriminator_loss"] + weight * parts["classifier_loss"]
        np.testing.assert_allclose(losses[weight], expected, rtol=1e-6)
    assert losses[1.0] > losses[0.125] > losses[0.0]


ORDER = np.array([2, 0, 1])


def permuted_generators(params):
    first = params["network"]["first"]
    first = {"kernel": first["kernel"][:, ORDER], "bias": first["bias"][ORDER]}
    return params | {"network": params["network"] | {"first": first}}


def permuted_judge(params):
    head = params["classifier"]
    head = {"kernel": head["kernel"][:, ORDER], "bias": head["bias"][ORDER]}
    return params | {"classifier": head}


@pytest.mark.slow
def test_permuting_generators_and_their_names_permutes_gradients():
    players, params, judge, noise, real = samples_of(SMALL)

    @jax.jit
    def gradients(params, judge):
        weights = mixture_weights(SMALL, params)

        def fakes(params):
            return players.generators.apply(params["network"], {}, noise, train=True)[0]

        def of_generators(params):
            return generator_losses(SMALL, players, judge, fakes(params), weights)

        def of_judge(judge):
            return discriminator_losses(
                SMALL, players, judge, real, fakes(params), weights
            )[0]

        return jax.grad(of_generators)(params), jax.grad(of_judge)(judge)

    of_generators, of_judge = gradients(params, judge)
    found = gradients(permuted_generators(params), permuted_judge(judge))
    close(found[0], permuted_generators(of_generators))
    close(found[1], permuted_judge(of_judge))
    # They are told apart by their names alone.
    wrong = gradients(permuted_generators(params), judge)
    assert largest_gap(wrong[1], permuted_judge(of_judge)) > 1e-3


def test_average_is_the_exponential_mean_of_the_weights():
    _, begun, _ = begin(SMALL)
    expected = begun.generators.params
    for steps in (1, 2, 3):
        state, _ = play(SMALL, steps, rates={"generators": 0.01})
        expected = jax.tree.map(
            lambda a, p: 0.75 * a + 0.25 * p, expected, state.generators.params
        )
    close(state.average, expected, rtol=1e-5, atol=1e-7)
    assert largest_gap(state.average, state.generators.params) > 1e-3


def test_learned_mixture_begins_even_and_learns_from_the_generators_losses():
    config = GAMES["learned"]
    params = begin(config)[1].generators.params
    np.testing.assert_allclose(mixture_weights(config, params), 1 / K, rtol=1e-6)
    players, params, judge, noise, _ = samples_of(config)
    beta = config.rules.diversity
    found = generators_gradient(beta, config=config)["mixture"]
    fake, _ = players.generators.apply(params["network"], {}, noise, train=True)
    # What each generator alone loses; the gradient of softmax has those less the mean.
    each = jnp.stack(
        [generator_losses(config, players, judge, fake, w) for w in jnp.eye(K)]
    )
    np.testing.assert_allclose(found, (each - each.mean()) / K, atol=1e-6)


def test_fixed_mixture_is_no_parameter():
    state, _ = play(SMALL, 2)
    assert set(state.generators.params) == {"network"}
    weights = mixture_weights(SMALL, state.generators.params)
    np.testing.assert_allclose(weights, 1 / K, rtol=1e-6)


def test_accuracy_is_the_share_of_samples_whose_generator_is_told():
    players, _, judge, _, real = samples_of(SMALL)
    judge = with_other_classifier(judge)
    bias = jnp.array([0.0, 1e6, 0.0])
    judge["classifier"] = judge["classifier"] | {"bias": bias}
    fake, weights = jnp.ones((8, K, 2)), jnp.full(K, 1 / K)
    _, metrics = discriminator_losses(SMALL, players, judge, real, fake, weights)
    np.testing.assert_allclose(metrics["classifier_accuracy"], 1 / 3, rtol=1e-6)


# --- Unrolled: the gradient goes through the steps of the discriminator -------------


def generators_gradient_of_step(config, state, players, draw):
    """Return the gradient of the generators' step, as a step of rate 1 shows it."""
    players = players._replace(generator_tx=optax.sgd(1.0))
    state = state._replace(
        generators=state.generators._replace(
            opt_state=players.generator_tx.init(state.generators.params)
        )
    )
    after, _ = jax.jit(make_step(config, players, draw))(state, {}, shared())
    before, moved = state.generators.params, after.generators.params
    return jax.tree.map(lambda a, b: a - b, before, moved), after.judge


def looked_ahead(config, players, judge, params, real, noise):
    """Return the generators' loss after a look ahead, step by step."""
    fake, _ = players.generators.apply(params["network"], {}, noise, train=True)
    weights = mixture_weights(config, params)
    weights_of_judge, opt_state = judge.params, judge.opt_state
    for _ in range(config.rules.unrolled_steps):
        gradient = jax.grad(
            lambda p: discriminator_losses(config, players, p, real, fake, weights)[0]
        )(weights_of_judge)
        updates, opt_state = players.discriminator_tx.update(
            gradient, opt_state, weights_of_judge
        )
        weights_of_judge = optax.apply_updates(weights_of_judge, updates)
    return generator_losses(config, players, weights_of_judge, fake, weights)


def doubled(tree):
    """Return a tree in float64."""
    return jax.tree.map(
        lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree
    )


@pytest.mark.slow
def test_unrolled_gradient_is_that_of_the_loss_after_looking_ahead():
    config = replace_fields(UNROLLED, width=6, noise_size=3, fakes=6)
    _, state, _ = begin(config)
    with jax.enable_x64(True):
        players, state = make_players(config), doubled(state)
        # Biases of 0 hold units whose inputs are all dead right at their kink.
        own = jax.tree.map(lambda x: x + 0.1, state.generators.params)
        state = state._replace(generators=state.generators._replace(params=own))
        keys = jax.random.split(jax.random.fold_in(shared()["key"], 0), 5)
        real = 2.0 * jax.random.normal(jax.random.key(1), (16, 2))
        noise = draw_noise(config, keys[2], config.fakes)
        assert noise.dtype == jnp.float64
        gradient, judge = generators_gradient_of_step(
            config, state, players, lambda *_: real
        )
        loss = jax.jit(
            lambda params: looked_ahead(config, players, judge, params, real, noise)
        )
        params = state.generators.params
        leaves, structure = jax.tree.flatten(params)
        random = np.random.default_rng(0)
        for _ in range(3):
            way = [random.normal(size=leaf.shape) for leaf in leaves]
            values = [
                loss(
                    structure.unflatten(
                        [x + size * w for x, w in zip(leaves, way, strict=True)]
                    )
                )
                for size in (1e-6, -1e-6)
            ]
            slope = (values[0] - values[1]) / 2e-6
            found = sum(
                np.sum(g * w)
                for g, w in zip(jax.tree.leaves(gradient), way, strict=True)
            )
            np.testing.assert_allclose(found, slope, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_looking_ahead_leaves_the_discriminator_as_it_was():
    plain, _ = play(ALONE, 1, rates={"judge": 0.01})
    unrolled, _ = play(UNROLLED, 1)
    close(unrolled.judge.params, plain.judge.params, rtol=1e-5, atol=1e-6)
