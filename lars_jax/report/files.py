"""Files that a reader never meets half written."""

import os
from pathlib import Path


def replace(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file beside its name, then rename it over what is there.

    Args:
        path: of the file.
        content: the whole of it.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "note"
    >>> replace(path, b"done")
    >>> path.read_bytes()
    b'done'
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
