"""Refuse a configuration that cannot run, before anything is read or written."""

from experiments.transitive.config import Config
from experiments.transitive.context import check_context
from lars_jax.errors import InputError
from lars_jax.runs import check_ranges, out_of_range, refuse_ignored

POOLS = {"vgg16": 5, "small": 4}
"""Halvings of an image by the convolutions of each network."""

LEAST_CROP = 32
"""Pixels that are left of by five halvings."""


def check(config: Config) -> Config:
    """Return the configuration if it can run.

    Raises:
        InputError: the first rule that it breaks, with the field, its value and a way
            out.

    >>> check(Config()).clusters.parents
    5000
    """
    check_ranges(config)
    videos, mining, triplet = config.video.videos, config.mining, config.triplet
    if videos != "demo" and not videos.startswith(("folder:", "eth80:")):
        raise out_of_range("videos", "demo, folder:PATH or eth80:FILE", videos)
    named = config.evaluation.photographs
    if named != "none" and not named.startswith(("folder:", "eth80:")):
        raise out_of_range("photographs", "none, folder:PATH or eth80:FILE", named)
    if config.of_photographs and named.startswith("eth80:") and named != videos:
        raise InputError(
            "objects to try features on are split off from those of the same file; got "
            f"{named} beside {videos}: leave --photographs out"
        )
    shortest = min(mining.frame_height, mining.frame_width)
    if mining.window > shortest:
        raise out_of_range("window", f"at most {shortest}, as frames", mining.window)
    if mining.least_moving >= mining.most_moving:
        raise out_of_range("least_moving", "below most_moving", mining.least_moving)
    if config.tracking.crop < LEAST_CROP or config.tracking.crop % 8:
        raise out_of_range(
            "crop", f"a multiple of 8 from {LEAST_CROP} on", config.tracking.crop
        )
    least = 2 ** POOLS[config.model.network]
    side = config.model.image_size or config.tracking.crop
    if side < least:
        raise out_of_range("image_size", f"at least {least}, for its pools", side)
    if config.clusters.neighbours < config.clusters.clique - 1:
        raise out_of_range(
            "neighbours",
            f"at least {config.clusters.clique - 1}, one less than clique",
            config.clusters.neighbours,
        )
    if triplet.global_batch % 2:
        raise InputError(
            "global_batch counts images, two of each pair; got "
            f"{triplet.global_batch}: choose an even number"
        )
    if triplet.context_weight and triplet.global_batch % 4:
        raise InputError(
            "beside context prediction, which takes half as many pairs of patches and "
            "an even number of them, global_batch is a multiple of 4; got "
            f"{triplet.global_batch}: choose one"
        )
    if triplet.warmup_steps >= triplet.steps:
        raise out_of_range("warmup_steps", "below steps", triplet.warmup_steps)
    if config.uses_context or triplet.context_weight:
        check_context(config.context)
        if config.context.patch < least:
            raise out_of_range(
                "patch", f"at least {least}, for the pools", config.context.patch
            )
    if named == "none" and not config.of_photographs:
        refuse_ignored(config.evaluation, ["held_out", "tuning"], "without photographs")
    if triplet.negatives != "hardest":
        refuse_ignored(triplet, ["hardest_share"], f"by {triplet.negatives} negatives")
    return config
