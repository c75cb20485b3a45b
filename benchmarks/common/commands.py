"""How a benchmark is called, and the line that says what it cannot do."""

import sys
from collections.abc import Callable

import tyro

from lars_jax.runs.ending import status_of


def command(main: Callable[..., None]) -> None:
    """Call a function with the arguments of this process.

    Args:
        main: whose arguments are flags.

    Raises:
        SystemExit: at the end; a line has said what could not be done.
    """
    sys.exit(status_of(lambda: tyro.cli(main)))
