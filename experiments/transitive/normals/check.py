"""Refuse a network of normals that cannot be trained, before anything is loaded."""

from experiments.transitive.normals.config import Config
from experiments.transitive.normals.program import build_network
from lars_jax.errors import InputError
from lars_jax.runs import check_ranges

FEWEST = 4
"""Codewords that triangles can be made of."""


def check(config: Config) -> Config:
    """Return the configuration if it can run.

    Raises:
        InputError: the first rule that it breaks, with the field, its value and a way
            out.

    >>> check(Config()).codebook.codewords
    40
    """
    check_ranges(config)
    data, words = config.data, config.codebook
    if data.frames.endswith(".mat") and data.splits is None:
        raise InputError(
            "the frames of a .mat file are of no split by themselves; got no splits "
            f"for {data.frames}: set --splits to splits.mat, or to an .npz archive "
            "with a list of frames for each of --train-split and --test-split"
        )
    if data.splits is not None and not data.frames.endswith(".mat"):
        raise InputError(
            "splits are for the frames of a .mat file, others say themselves of which "
            f"they are; got {data.splits} for {data.frames}: leave --splits out"
        )
    if words.decoding == "triangle" and words.codewords < FEWEST:
        raise InputError(
            f"triangles need {FEWEST} codewords or more; got {words.codewords}: raise "
            "--codewords, or choose --decoding soft"
        )
    if config.devices is not None and config.global_batch % config.devices:
        raise InputError(
            f"global_batch must divide evenly over the devices; got "
            f"{config.global_batch} on {config.devices}: choose a multiple"
        )
    build_network(config)
    return config
