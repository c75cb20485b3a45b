"""Which pictures to learn from, so that none that is tested on has been seen.

Frames of a video are alike where they are near, and collections from the web have one
photograph under several names: a random choice then tests on what was learned.
"""

from collections.abc import Sequence

import numpy as np

from experiments.transitive.detection.annotated import Picture, read_pixels
from lars_jax.errors import InputError

THUMBNAIL = (24, 18)
"""Width and height to which pictures are reduced to be compared."""

ALIKE = 0.8
"""Correlation of thumbnails from which on pictures count as copies. Among 200
photographs of raccoons from the web nine pairs are above, all of them copies, cut or
written on at worst (0.83); the next ones, at 0.79, have the same black borders."""


def split_by_blocks(
    names: Sequence[str], *, parts: int = 5, part: int, gap: int = 2
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names to learn from, and a block of neighbours that is held out.

    Args:
        names: in the order of the video; distances are counted in names.
        parts: how many blocks there are.
        part: which of them is held out, 0 .. parts - 1.
        gap: names on each side of the block that are in neither, as their frames show
            what the block's show.

    Returns:
        Two lists, in the order of `names`.

    Raises:
        InputError: fewer than two blocks, more than names, a part that there is not, a
            negative gap or one that leaves nothing to learn from.

    >>> split_by_blocks("abcdefgh", parts=4, part=1, gap=1)
    (('a', 'f', 'g', 'h'), ('c', 'd'))
    """
    if not 2 <= parts <= len(names) or not 0 <= part < parts or gap < 0:
        raise InputError(
            "names are split in 2 parts up to as many as there are, of which one is "
            f"held out, with a gap from 0 on; got {len(names)} names, {parts} parts, "
            f"part {part} and gap {gap}: correct them"
        )
    start, stop = (len(names) * (part + side) // parts for side in (0, 1))
    rest = (*names[: max(start - gap, 0)], *names[stop + gap :])
    if not rest:
        raise InputError(
            f"a gap leaves names to learn from; got {gap} between {len(names)} names: "
            "set less"
        )
    return tuple(rest), tuple(names[start:stop])


def without_copies(
    pictures: Sequence[Picture], held_out: Sequence[Picture], *, alike: float = ALIKE
) -> tuple[Picture, ...]:
    """Return the pictures that do not show what one that is held out shows.

    The correlation is of their thumbnails of 24 x 18 pixels, all channels together.

    Args:
        pictures: to learn from.
        held_out: to test on.
        alike: correlation of thumbnails from which on two pictures are copies.

    Raises:
        InputError: a picture that cannot be read.
    """
    if not pictures or not held_out:
        return tuple(pictures)
    one, other = (
        np.stack([_thumbnail(picture) for picture in some])
        for some in (pictures, held_out)
    )
    apart = np.flatnonzero((one @ other.T < alike).all(axis=1))
    return tuple(pictures[k] for k in apart.tolist())


def _thumbnail(picture: Picture) -> np.ndarray:
    """Return a thumbnail of mean 0 and norm 1; of one colour, zeros."""
    from PIL import Image

    image = Image.fromarray(read_pixels(picture))
    small = np.asarray(image.resize(THUMBNAIL, Image.Resampling.BILINEAR), float)
    centred = small.ravel() - small.mean()
    return centred / max(float(np.linalg.norm(centred)), 1e-9)
