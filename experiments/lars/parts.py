"""How a batch is cut: the spans of batch normalisation and the micro-batches.

A span is a number of examples wherever it is used. `per_device` becomes one as soon as
the devices are known, so that the same span gives the same numbers on any mesh.
"""

import math

from experiments.lars.config import Config, replace
from lars_jax.errors import InputError
from lars_jax.train import DataParallel

WITHOUT_BATCH_NORM = ("alexnet",)
"""Networks whose examples never meet, and whose batch may be cut anywhere."""

USUAL_SPAN = 64
"""Span that an error suggests, or the nearest that fits: MLPerf's smallest is 35."""


def has_batch_norm(config: Config) -> bool:
    """Return whether the network normalises over examples.

    >>> has_batch_norm(Config())
    True
    """
    return config.model.network not in WITHOUT_BATCH_NORM


def span_of(config: Config) -> int | None:
    """Return the examples normalised together, as networks take them; None: all.

    >>> span_of(Config()), span_of(replace(Config(), bn_span=64))
    (None, 64)
    """
    span = config.model.bn_span
    if span == "global" or not has_batch_norm(config):
        return None
    if span == "per_device":
        raise AssertionError("a span per device has to be resolved by `divided`")
    return span


def parts_of(config: Config) -> int:
    """Return the number of micro-batches, once it is one.

    >>> parts_of(replace(Config(), microbatches=4))
    4
    """
    if config.microbatches == "auto":
        raise AssertionError("the number of parts has to be resolved by `resolve`")
    return config.microbatches


def divided(config: Config, parts: int, devices: int) -> Config:
    """Return a configuration with its micro-batches, and the span that follows.

    Args:
        config: the run.
        parts: number of micro-batches.
        devices: devices that share each of them.

    Raises:
        InputError: the parts cannot be shared out evenly.

    >>> config = replace(Config(), global_batch=256, bn_span="per_device")
    >>> divided(config, 2, 8).model.bn_span
    16
    """
    config = replace(config, microbatches=parts)
    if config.model.bn_span != "per_device" or not has_batch_norm(config):
        return config
    span, rest = divmod(config.global_batch, devices * parts)
    if rest:
        raise InputError(
            "bn_span per_device needs the same share of a micro-batch on every device; "
            f"got {config.global_batch} examples in {parts} parts on {devices} "
            "devices: choose a batch that they divide"
        )
    return replace(config, bn_span=span)


def check_span(config: Config) -> None:
    """Refuse a span that micro-batches would cut, on whatever devices.

    While their number is open it may still be one.

    Raises:
        InputError: naming the span, the micro-batch and a way out.
    """
    if not has_batch_norm(config):
        return
    span = config.model.bn_span
    parts = 1 if config.microbatches == "auto" else config.microbatches
    part = config.global_batch // parts
    if span == "global" and parts > 1:
        raise InputError(
            "bn_span global needs the whole batch at once in a network with batch "
            f"normalisation; got {parts} micro-batches of {part} examples: choose a "
            f"span that divides {part}, such as --bn-span {math.gcd(part, USUAL_SPAN)}"
        )
    if isinstance(span, str):
        return
    # A whole batch may be less than a span; a part of one would cut it.
    whole = parts == 1 and span >= part
    if not whole and part % span:
        raise InputError(
            f"bn_span must divide a micro-batch; got {span} of {part} examples: "
            "choose a divisor"
        )


def check_shares(config: Config, parallel: DataParallel) -> None:
    """Refuse micro-batches that devices cannot share out.

    Args:
        config: the run, its parts resolved.
        parallel: the mesh and the back-end.

    Raises:
        InputError: a device would get part of an example or, in a mapped step, of a
            span.
    """
    parts, span = parts_of(config), span_of(config)
    part = config.global_batch // parts
    parallel.check_divides(part)
    share = part // parallel.num_devices
    # Under jit examples may move between devices; a mapped step has only its own.
    mapped = parallel.axis_name is not None and parts > 1
    if mapped and span is not None and share % span:
        raise InputError(
            f"with micro-batches bn_span must divide a device's part of one under "
            f"{parallel.backend}; got {span} of {share} examples: choose a divisor, or "
            "--backend jit"
        )
