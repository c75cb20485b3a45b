"""What the verbs that look at a user's own pictures share."""

from collections.abc import Sequence
from pathlib import Path

from lars_jax.errors import InputError


def places_for(paths: Sequence[Path], out: Path) -> list[Path]:
    """Return where each picture is drawn, under a name of its own.

    Args:
        paths: of the pictures.
        out: the directory of what is drawn.

    Raises:
        InputError: none, two of one name, whatever their folders and endings, or one
            that would be drawn over.

    >>> [str(place) for place in places_for([Path("a/one.jpg")], Path("drawn"))]
    ['drawn/one.png']
    """
    names = [path.stem for path in paths]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise InputError(
            "pictures are drawn under their names, one at least and no two the same; "
            f"got {', '.join(twice) or 'none'}: name or rename an IMAGE"
        )
    places = [out / f"{name}.png" for name in names]
    own = {path.resolve() for path in paths}
    over = [str(place) for place in places if place.resolve() in own]
    if over:
        raise InputError(
            "what is drawn goes beside a picture and not over it; got "
            f"{', '.join(over)} for both: name another --out"
        )
    return places
