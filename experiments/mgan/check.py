"""Refuse a configuration that cannot run, before anything is loaded or written."""

import math

from experiments.mgan.config import Config, GameConfig, in_plane
from experiments.mgan.features import SPLITS
from experiments.mgan.mixture import make_mixture
from lars_jax.errors import InputError
from lars_jax.runs import check_ranges, out_of_range, refuse_ignored

LEAST_IMAGES = 6
"""Images that a gallery takes: one, and the five nearest to it."""


def check(config: Config) -> Config:
    """Return the configuration if it can run.

    Raises:
        InputError: the first rule that it breaks, with the field, its value and a way
            out.

    >>> check(Config()).batch
    512
    """
    check_ranges(config)
    _check_calls(config)
    _check_game(config)
    _check_networks(config)
    if in_plane(config):
        make_mixture(config.data)
    _check_ignored(config)
    return config


def check_data(config: Config, examples: int) -> None:
    """Refuse a batch larger than the data, and fewer images than a gallery shows.

    Args:
        config: the game.
        examples: number of images.

    Raises:
        InputError: the batch exceeds them, or they are too few.
    """
    if examples < LEAST_IMAGES:
        raise InputError(
            f"a game of images needs at least {LEAST_IMAGES} of them, to show the "
            f"nearest beside samples; got {examples} in {config.data.dataset}: add more"
        )
    if config.batch > examples:
        raise InputError(
            f"batch must not exceed the images; got {config.batch} of {examples} in "
            f"{config.data.dataset}: choose --batch {examples} or less"
        )


def resolve_devices(config: Config, available: int) -> int:
    """Return over how many devices the batches of a game are split.

    Args:
        config: the game; it says, or leaves it to what divides its batches.
        available: devices that there are.

    Raises:
        InputError: a batch does not split evenly over the devices asked for.

    >>> resolve_devices(Config(batch=64, fakes=12), available=8)
    4
    """
    sizes = {"batch": config.batch, "fakes": config.fakes}
    if config.devices is None:
        common = math.gcd(*sizes.values())
        return max(n for n in range(1, available + 1) if common % n == 0)
    for name, count in sizes.items():
        if count % config.devices:
            raise InputError(
                f"{name} must divide evenly over the devices; got {count} on "
                f"{config.devices} devices: choose a multiple, or leave --devices out"
            )
    return config.devices


def _check_calls(config: Config) -> None:
    call = config.steps_per_call
    for name in ("steps", "eval_every", "checkpoint_every"):
        count = getattr(config, name)
        if count % call:
            raise InputError(
                f"{name} must be a multiple of steps_per_call; got {count} for {call}: "
                f"choose --{name.replace('_', '-')} {-(-count // call) * call}, or a "
                "divisor for --steps-per-call"
            )
    keep = config.keep_every
    if keep is not None and keep % config.checkpoint_every:
        raise InputError(
            "keep_every must be a multiple of checkpoint_every, or left out; got "
            f"{keep} for {config.checkpoint_every}: choose a multiple"
        )


def _check_game(config: Config) -> None:
    rules = config.rules
    if rules.game != "mgan" and rules.generators != 1:
        raise InputError(
            f"{rules.game} has one generator; got generators {rules.generators}: "
            "choose --generators 1, or --game mgan"
        )
    if rules.game == "d2gan" and not in_plane(config):
        raise InputError(
            f"d2gan is built for points in the plane; got dataset "
            f"{config.data.dataset}: choose --game mgan"
        )
    if rules.game == "d2gan":
        _check_rules(rules)
    optimizer = config.optimizer
    if optimizer.warmup_steps >= config.steps:
        raise out_of_range(
            "warmup_steps", f"below the {config.steps} steps", optimizer.warmup_steps
        )
    rule = optimizer.optimizer
    both = {rule, optimizer.generator_optimizer or rule}
    if optimizer.weight_decay and both == {"adam"}:
        raise InputError(
            f"weight_decay is of LARS and LAMB; got {optimizer.weight_decay} with "
            "adam: choose --optimizer lars or lamb, or leave --weight-decay out"
        )
    if rules.game == "unrolled" and rule != "adam":
        raise InputError(
            f"an Unrolled GAN looks ahead by steps of Adam; got optimizer {rule}: "
            "choose --optimizer adam"
        )


def _check_ignored(config: Config) -> None:
    rules, optimizer = config.rules, config.optimizer
    if "lars" not in (optimizer.optimizer, optimizer.generator_optimizer):
        refuse_ignored(optimizer, ["trust_coefficient"], "without lars")
    if rules.game != "unrolled":
        refuse_ignored(rules, ["unrolled_steps"], f"by {rules.game}")
    if rules.generators == 1:
        refuse_ignored(rules, ["mixture"], "with one generator")


def _check_rules(rules: GameConfig) -> None:
    """Refuse rules that D2GAN, which has losses of its own, would ignore."""
    for name in ("generator_loss", "diversity", "classifier_weight", "mixture"):
        value = getattr(rules, name)
        if value != getattr(GameConfig(), name):
            raise InputError(
                f"{name} is no rule of d2gan, which has losses of its own; got "
                f"{value}: leave --{name.replace('_', '-')} out, or choose --game mgan"
            )


def _check_networks(config: Config) -> None:
    network, plane = config.model.network, in_plane(config)
    if (network == "plane") != plane:
        fitting = "plane" if plane else "dcgan"
        raise InputError(
            f"network must fit the data; got {network} for {config.data.dataset}: "
            f"choose --network {fitting}"
        )
    if plane:
        if config.features is not None:
            raise InputError(
                f"features judge images, not points in the plane; got features "
                f"{config.features} for {config.data.dataset}: leave --features out"
            )
        return
    size, stages = config.data.image_size, config.model.stages
    if 2**stages > size:
        raise InputError(
            f"stages must leave a pixel of the image; got {stages} halvings of "
            f"{size} pixels: choose --stages {size.bit_length() - 1} or fewer"
        )
    if config.features is not None and config.eval_samples < SPLITS:
        raise InputError(
            f"eval_samples must be at least {SPLITS} where features judge images, one "
            f"for each part that is scored; got {config.eval_samples}: choose "
            f"--eval-samples {SPLITS} or more, or --samples with `eval`"
        )
    if config.fakes < 2:
        raise InputError(
            "fakes must be at least 2 where samples are normalised by their batch; got "
            f"{config.fakes}: raise --fakes"
        )
