"""Refuse a configuration that cannot run, before anything is loaded or written."""

import math
from typing import Any, get_args

from experiments.lars.config import Config, OptimizerConfig, OptimizerName, VariantName
from experiments.lars.microbatches import check_microbatches
from lars_jax.errors import InputError
from lars_jax.train import StateSharding

_POSITIVE = (
    "global_batch",
    "epochs",
    "log_every",
    "eval_every",
    "eval_batch",
    "checkpoint_every",
)
_POSITIVE_OR_NONE = ("steps", "devices", "device_memory")
_NOT_NEGATIVE = (
    "learning_rate",
    "end_learning_rate",
    "decay_power",
    "warmup_epochs",
    "warmup_start",
    "weight_decay",
    "trust_coefficient",
)


def check(config: Config) -> Config:
    """Return the configuration if it can run.

    Raises:
        InputError: the first rule that it breaks, with the field, its value and a way
            out.

    >>> check(Config()).global_batch
    256
    """
    optimizer, data, model = config.optimizer, config.data, config.model
    for name in _POSITIVE:
        _require(_finite(config, name) > 0, name, "above 0", getattr(config, name))
    for name in _POSITIVE_OR_NONE:
        value = getattr(config, name)
        known = value is None or _finite(config, name) > 0
        _require(known, name, "above 0, or left out", value)
    for name in _NOT_NEGATIVE:
        _require(_finite(optimizer, name) >= 0, name, "0 or more", optimizer)
    _require(
        0 <= _finite(optimizer, "momentum") < 1, "momentum", "in [0, 1)", optimizer
    )
    parts = config.microbatches
    known = parts == "auto" or isinstance(parts, int) and parts > 0
    _require(known, "microbatches", "above 0, or auto", parts)
    _check_rule(optimizer)
    _check_sharding(config)
    smoothing = _finite(config, "label_smoothing")
    _require(0 <= smoothing < 1, "label_smoothing", "in [0, 1)", smoothing)
    _require(0 <= config.seed < 2**31, "seed", "in [0, 2^31)", config.seed)
    _require(data.image_size > 0, "image_size", "above 0", data.image_size)
    _require(data.crop_padding >= 0, "crop_padding", "0 or more", data.crop_padding)
    _require(data.holdout >= 0, "holdout", "0 or more", data.holdout)
    span = model.bn_span
    known = span in ("per_device", "global") or isinstance(span, int) and span > 0
    _require(known, "bn_span", "above 0, per_device or global", span)
    length = config.epochs if config.steps is None else math.inf
    _require(
        optimizer.warmup_epochs < length, "warmup_epochs", "below epochs", optimizer
    )
    _check_sizes(config)
    _check_kept(config)
    return config


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


def check_crop(config: Config, shape: tuple[int, ...]) -> None:
    """Refuse a crop that is larger than the images it is cut from.

    Args:
        config: the run.
        shape: shape of the first image, [H, W, C].

    Raises:
        InputError: evaluation, which crops without padding, could not cut it.
    """
    data = config.data
    smallest = min(shape[:2]) if data.resize is None else data.resize
    if data.augmentation != "random_resized_crop" and data.image_size > smallest:
        raise InputError(
            f"image_size must not exceed the images; got {data.image_size} for images "
            f"of {shape[0]}x{shape[1]}: lower --image-size or set --resize"
        )


def _check_rule(optimizer: OptimizerConfig) -> None:
    for name, kind in (("optimizer", OptimizerName), ("variant", VariantName)):
        names = get_args(kind)
        known = getattr(optimizer, name) in names
        _require(known, name, f"one of {', '.join(names)}", optimizer)
    if optimizer.variant != "paper" and optimizer.optimizer != "lars":
        raise InputError(
            f"variant is a form of LARS; got {optimizer.variant} with optimizer "
            f"{optimizer.optimizer}: leave --variant out, or choose --optimizer lars"
        )


def _check_sharding(config: Config) -> None:
    kinds, kind = get_args(StateSharding), config.state_sharding
    _require(kind in kinds, "state_sharding", f"one of {', '.join(kinds)}", config)
    if kind != "none" and config.backend != "jit":
        raise InputError(
            f"state_sharding needs the back-end jit, where arrays are global; got "
            f"{kind} with {config.backend}: leave --backend out, or choose "
            "--state-sharding none"
        )


def _check_sizes(config: Config) -> None:
    data = config.data
    if data.augmentation == "random_resized_crop" and data.placement == "device":
        raise InputError(
            "random_resized_crop is cut on the host; got placement device: leave "
            "--placement out, or choose --augmentation crop"
        )
    check_microbatches(config)
    if data.resize is not None and data.resize < data.image_size:
        raise InputError(
            f"resize must be at least image_size; got {data.resize} for images of "
            f"{data.image_size}: raise --resize"
        )


def _check_kept(config: Config) -> None:
    if config.keep_every is None:
        return
    saves = _finite(config, "keep_every") / config.checkpoint_every
    if saves < 1 or abs(saves - round(saves)) > 1e-6:
        raise InputError(
            "keep_every must be a multiple of checkpoint_every, or left out; got "
            f"{config.keep_every} for {config.checkpoint_every}: choose a multiple"
        )


def _finite(section: Any, name: str) -> float:
    value = getattr(section, name)
    if not math.isfinite(value):
        raise InputError(f"{name} must be a finite number; got {value}")
    return value


def _require(holds: bool, name: str, rule: str, value: Any) -> None:
    if not holds:
        value = getattr(value, name, value)
        flag = "--" + name.replace("_", "-")
        raise InputError(f"{name} must be {rule}; got {value}: mend {flag}")
