"""What the verbs that look at a user's own pictures share."""

from collections.abc import Sequence
from pathlib import Path

from lars_jax.errors import InputError


def require_names(paths: Sequence[Path]) -> None:
    """Refuse pictures that cannot each be drawn under a name of its own.

    Raises:
        InputError: none, or two of one name, whatever their folders and endings.

    >>> require_names([Path("a/one.jpg"), Path("b/two.jpg")])
    """
    names = [path.stem for path in paths]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise InputError(
            "pictures are drawn under their names, one at least and no two the same; "
            f"got {', '.join(twice) or 'none'}: name or rename an IMAGE"
        )
