"""How a benchmark is called, and the line that says what it cannot do."""

from collections.abc import Callable

import tyro

from lars_jax.runs.ending import report_error


def command(main: Callable[..., None]) -> None:
    """Call a function with the arguments of this process.

    Args:
        main: whose arguments are flags.

    Raises:
        SystemExit: they cannot be used; a line has said why.
    """
    try:
        tyro.cli(main)
    except BaseException as error:
        status = report_error(error)
        if status is None:
            raise
        raise SystemExit(status) from error
