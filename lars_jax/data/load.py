"""The one place where the name of a data set becomes a data set."""

from collections.abc import Sequence
from pathlib import Path

from lars_jax.data.digits import digits_source
from lars_jax.data.folder import folder_source
from lars_jax.data.source import Source
from lars_jax.data.tfds_source import tfds_source

_FOLDER = "folder:"


def load_source(
    dataset: str,
    split: str,
    *,
    data_dir: str | Path | None = None,
    beside: Sequence[str] = (),
) -> Source:
    """Open one split of a data set; never download anything.

    Args:
        dataset: "digits" (embedded), "folder:PATH" (PATH/SPLIT/CLASS/image), or the
            name of a data set that TFDS has prepared, such as "cifar10".
        split: name of the split, such as "train"; imagenet2012's second split is
            "validation".
        data_dir: where prepared TFDS data sets lie; else $TFDS_DATA_DIR, else
            ~/tensorflow_datasets.
        beside: the other splits in use, whose classes are those of a folder, too.

    Returns:
        The labelled images, read as they are asked for.

    Raises:
        InputError: no such data set or split, or one that cannot be used.

    >>> source = load_source("digits", "train")
    >>> len(source), source.class_names[3], source[0][0].shape
    (1437, '3', (8, 8, 1))
    """
    if dataset == "digits":
        return digits_source(split)
    if dataset.startswith(_FOLDER):
        return folder_source(dataset.removeprefix(_FOLDER), split, beside=beside)
    return tfds_source(dataset, split, data_dir=data_dir)
