"""Files: where a path that was typed leads, and how one is written whole or not."""

import contextlib
import os
import re
import secrets
import zlib
from collections.abc import Iterator
from pathlib import Path

from lars_jax.errors import InputError, naming

# A `Path` has made one slash of two.
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
_TEXT = re.compile("[^\0\ud800-\udfff]*")


def local_path(path: str | os.PathLike[str]) -> Path:
    """Return a path as it was typed, `~` its home directory.

    Raises:
        InputError: it is a URL, or the home of nobody here.

    >>> local_path("~/runs/a") == Path.home() / "runs" / "a"
    True
    >>> local_path("gs://bucket/run")
    Traceback (most recent call last):
    lars_jax.errors.InputError: a path must be one of this machine's file systems; \
got gs://bucket/run: mount it, or copy from and to there
    """
    text = os.fspath(path)
    if url := _URL.match(text):
        rest = text[url.end() :].lstrip("/")
        raise InputError(
            f"a path must be one of this machine's file systems; got {url[0]}/{rest}: "
            "mount it, or copy from and to there"
        )
    if not text or not _TEXT.fullmatch(text):
        raise InputError(
            f"a path must be of UTF-8, not empty, without a zero byte; got {text!a}: "
            "correct it, or rename what it names"
        )
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"~ must be the home of somebody on this machine; got {text}: write the "
            "path out"
        ) from error


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary name beside a file, whose place it takes if all goes well.

    Raises:
        FileError: the system refuses to have it written.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with replacing(path) as temporary:
    ...     found = temporary.write_text("kept"), path.exists()
    >>> found, path.read_text()
    ((4, False), 'kept')
    """
    path = Path(path)
    # As short as its own name may be too long to add to; drawn, as processes of several
    # machines, which may have one number, may write the same file.
    name = f"{zlib.crc32(os.fsencode(path.name)):08x}.{secrets.token_hex(4)}"
    temporary = path.with_name(f".{name}.tmp{path.suffix}")
    with naming(path, "written"):
        try:
            yield temporary
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def make_directory(path: Path) -> None:
    """Make a directory and those above it, where they are not there.

    Raises:
        FileError: the system refuses.
    """
    with naming(path, "written"):
        path.mkdir(parents=True, exist_ok=True)


def cache_directory() -> Path:
    """Return where what can be made again is kept: `LARS_JAX_CACHE`, or the user's.

    >>> cache_directory().name
    'lars_jax'
    """
    asked = os.environ.get("LARS_JAX_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return local_path(asked) if asked else Path(home) / "lars_jax"
