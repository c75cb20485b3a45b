"""Refuse a configuration that cannot run, before anything is loaded or written."""

import math

from experiments.lars.config import Config, OptimizerConfig
from experiments.lars.microbatches import with_microbatches
from lars_jax.errors import InputError
from lars_jax.models.layers import SMALL_IMAGE
from lars_jax.models.resnet import IMAGENET_STAGES
from lars_jax.runs import check_ranges, out_of_range

IMAGENET_RESNETS = tuple(f"resnet{depth}" for depth in IMAGENET_STAGES)
"""Those whose stem depends on the size of images."""

TRUST_COEFFICIENT = OptimizerConfig().trust_coefficient


def check(config: Config) -> Config:
    """Return the configuration if it can run.

    Raises:
        InputError: the first rule that it breaks, with the field, its value and a way
            out.

    >>> check(Config()).global_batch
    256
    """
    check_ranges(config)
    rule, data = config.optimizer, config.data
    if rule.variant != "paper" and rule.optimizer != "lars":
        raise InputError(
            f"variant is a form of LARS; got {rule.variant} with optimizer "
            f"{rule.optimizer}: leave --variant out, or choose --optimizer lars"
        )
    if rule.trust_coefficient != TRUST_COEFFICIENT and rule.optimizer != "lars":
        raise InputError(
            f"trust_coefficient is of LARS; got {rule.trust_coefficient:g} with "
            f"optimizer {rule.optimizer}: leave --trust-coefficient out, or choose "
            "--optimizer lars"
        )
    _check_network(config)
    if config.state_sharding != "none" and config.backend != "jit":
        raise InputError(
            f"state_sharding needs the back-end jit, where arrays are global; got "
            f"{config.state_sharding} with {config.backend}: leave --backend out, or "
            "choose --state-sharding none"
        )
    if config.gradient_sums == "bfloat16" and config.model.dtype == "float32":
        raise InputError(
            f"gradient_sums must not be narrower than dtype; got {config.gradient_sums}"
            " with float32: leave --gradient-sums out, or set --dtype bfloat16"
        )
    length = config.epochs if config.steps is None else math.inf
    if rule.warmup_epochs >= length:
        raise out_of_range("warmup_epochs", "below epochs", rule.warmup_epochs)
    if data.augmentation == "random_resized_crop" and data.placement == "device":
        raise InputError(
            "random_resized_crop is cut on the host; got placement device: leave "
            "--placement out, or choose --augmentation crop"
        )
    # While their number is open it may still be one.
    parts = 1 if config.microbatches == "auto" else config.microbatches
    with_microbatches(config, parts)
    if data.resize is not None and data.resize < data.image_size:
        raise InputError(
            f"resize must be at least image_size; got {data.resize} for images of "
            f"{data.image_size}: raise --resize"
        )
    if data.evaluation_fit == "short_side" and data.resize is None:
        raise InputError(
            "evaluation_fit short_side needs the length of that side; got resize None: "
            "set --resize, or leave --evaluation-fit out"
        )
    saves = (config.keep_every or config.checkpoint_every) / config.checkpoint_every
    if saves < 1 or abs(saves - round(saves)) > 1e-6:
        raise InputError(
            "keep_every must be a multiple of checkpoint_every, or left out; got "
            f"{config.keep_every} for {config.checkpoint_every}: choose a multiple"
        )
    _check_calls(config, "log_every", config.log_every)
    return config


def _check_network(config: Config) -> None:
    model = config.model
    plain = model.width == 1.0 and model.stem_stride == 1
    if not plain and not model.network.startswith("resnet"):
        raise InputError(
            f"width and stem_stride are of ResNets; got {model.width:g} and "
            f"{model.stem_stride} for {model.network}: leave them out, or choose a "
            "ResNet"
        )
    large = config.data.image_size > SMALL_IMAGE
    if model.stem_stride != 1 and large and model.network in IMAGENET_RESNETS:
        raise InputError(
            f"stem_stride is of images of at most {SMALL_IMAGE} pixels; got "
            f"{model.stem_stride} for {config.data.image_size}: leave --stem-stride out"
        )


def check_warmup(config: Config, total: int, steps_per_epoch: float) -> None:
    """Refuse a warm-up that takes the whole run.

    Args:
        config: the run.
        total: its steps.
        steps_per_epoch: in one pass over the training examples.

    Raises:
        InputError: nothing of the run is left after it.
    """
    epochs = config.optimizer.warmup_epochs
    if epochs * steps_per_epoch >= total:
        raise InputError(
            f"warmup_epochs must end before the run; got {epochs:g}, which take "
            f"{epochs * steps_per_epoch:.4g} of {total} steps: lower --warmup-epochs, "
            "or raise --steps or --epochs"
        )


def check_steps(config: Config, total: int) -> None:
    """Refuse a run that is no whole number of calls.

    Args:
        config: the run.
        total: its steps.

    Raises:
        InputError: the last call would pass its end.
    """
    _check_calls(config, "steps", total)


def _check_calls(config: Config, name: str, count: int) -> None:
    call = config.steps_per_call
    if count % call:
        raise InputError(
            f"{name} must be a multiple of steps_per_call; got {count} for {call}: "
            f"choose --{name.replace('_', '-')} {-(-count // call) * call}, or a "
            "divisor for --steps-per-call"
        )


def check_data(config: Config, examples: int) -> None:
    """Refuse a batch larger than the data.

    Args:
        config: the run.
        examples: number of training examples.

    Raises:
        InputError: the global batch exceeds them.
    """
    if config.global_batch > examples:
        raise InputError(
            f"global_batch must not exceed the training examples; got "
            f"{config.global_batch} of {examples} in {config.data.dataset}: choose "
            f"--global-batch {examples} or less"
        )
