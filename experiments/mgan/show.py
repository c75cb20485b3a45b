"""What a configuration comes to, without running it."""

from collections.abc import Iterator

import jax

from experiments.mgan.config import Config, in_plane
from experiments.mgan.game import GameState, initial_state, make_players
from lars_jax.data import known_statistics
from lars_jax.runs.show import parameter_table, settings


def describe(config: Config) -> Iterator[str]:
    """Yield the lines that `show` prints: settings, then networks.

    >>> any("279,938" in line for line in describe(Config()))
    True
    """
    yield from settings(config)
    channels = image_channels(config)
    state = state_shapes(config, channels)
    if not in_plane(config):
        yield ""
        yield f"images of {channels} channel{'s' * (channels > 1)}"
    for title, params in (
        ("generators", state.generators.params),
        ("discriminator and classifier", state.judge.params),
    ):
        yield ""
        yield from parameter_table(params, f"parameters of {title}")


def image_channels(config: Config) -> int:
    """Return the channels of the images of a game, without opening them.

    >>> image_channels(Config())
    3
    """
    # Of data that are not known, images may be in colour or not.
    statistics = known_statistics(config.data.dataset)
    return 3 if statistics is None else len(statistics.mean)


def state_shapes(config: Config, channels: int = 3) -> GameState:
    """Return the shapes of the state of a game, on images of so many channels."""
    size = config.data.image_size
    sample = (2,) if in_plane(config) else (size, size, channels)
    players = make_players(config, channels)
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(lambda key: initial_state(config, players, key, sample), key)
