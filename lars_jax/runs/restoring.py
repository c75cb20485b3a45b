"""Find the state that a run goes on from."""

from typing import Any

from lars_jax.errors import InputError
from lars_jax.runs.files import warn
from lars_jax.train.checkpoint import Checkpoints


def restore_newest(
    checkpoints: Checkpoints, like: Any, *, tell: bool = True
) -> tuple[int, Any] | None:
    """Return step and state of the newest checkpoint that is whole; set newer aside.

    Args:
        checkpoints: of the run.
        like: a state of the same structure; see `Checkpoints.restore`.
        tell: whether to say on standard error which were set aside, and why.

    Returns:
        None where there is no checkpoint at all.

    Raises:
        InputError: there are checkpoints, and none is whole.
    """
    broken: dict[int, InputError] = {}
    found = None
    for step in reversed(checkpoints.steps()):
        try:
            found = step, checkpoints.restore(step, like)
            break
        except InputError as error:
            broken[step] = error
    if found is None and broken:
        raise next(iter(broken.values()))
    for step, error in broken.items():
        place = checkpoints.set_aside(step)
        if tell:
            warn(f"{error}; moved it to {place}")
    return found
