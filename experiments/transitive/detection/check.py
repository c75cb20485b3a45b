"""Refuse a detector that cannot be trained, before anything is loaded or written."""

import dataclasses
import math

from experiments.transitive.detection.config import Config
from experiments.transitive.detection.network import frozen_layers
from experiments.transitive.detection.selective_search import SHORTEST
from lars_jax.errors import InputError
from lars_jax.runs import check_ranges, refuse_ignored


def check(config: Config) -> Config:
    """Return the configuration if it can run.

    Raises:
        InputError: the first rule that it breaks, with the field, its value and a way
            out.

    >>> check(Config()).global_batch
    2
    """
    check_ranges(config)
    data, own = config.data, config.regions
    if not data.dataset.startswith(("voc:", "coco:")):
        raise InputError(
            "dataset is voc:PATH or coco:PATH, a folder of annotated pictures; got "
            f"{data.dataset}: put voc: before the path"
        )
    if data.long_side < data.short_side:
        raise InputError(
            f"long_side must not be below short_side; got {data.long_side} for "
            f"{data.short_side}: raise --long-side"
        )
    low, high = own.background
    if not 0 <= low < high <= own.foreground:
        raise InputError(
            f"background is two overlaps, the lower one first, in 0 to foreground; got "
            f"{low:g} and {high:g} for {own.foreground:g}: set --background 0.1 "
            f"{own.foreground:g}"
        )
    if 0 < own.search_side < SHORTEST:
        raise InputError(
            f"search_side is 0, or {SHORTEST} pixels at least; got {own.search_side}: "
            "raise --search-side"
        )
    boxes = config.proposals
    sides = (*boxes.scales, *boxes.ratios)
    if not (boxes.scales and boxes.ratios and all(0 < one < math.inf for one in sides)):
        raise InputError(
            f"anchors have finite scales and ratios above 0; got {boxes.scales} and "
            f"{boxes.ratios}: set --scales and --ratios"
        )
    if config.devices is not None and config.global_batch % config.devices:
        raise InputError(
            f"global_batch must divide evenly over the devices; got "
            f"{config.global_batch} on {config.devices}: choose a multiple"
        )
    frozen_layers(config)
    if config.model.detector == "faster":
        refuse_ignored(own, ["search", "search_side"], "by Faster R-CNN")
    else:
        names = [field.name for field in dataclasses.fields(boxes)]
        refuse_ignored(boxes, names, "by Fast R-CNN")
    return config
