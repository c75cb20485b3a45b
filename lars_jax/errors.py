"""The exceptions that mean: what you asked for cannot be done, and why."""

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Literal

Doing = Literal["read", "written", "locked", "used"]


class InputError(ValueError):
    """Input that cannot be used: a configuration, a file, a data set, a checkpoint.

    The message is a single line with the rule, what came, and what to do about it.
    Command lines print it and exit with status 2; everything else is a defect of the
    program and keeps its traceback.
    """


class FileError(InputError):
    """A file that the system refuses to have read, written or locked.

    Args:
        path: of the file.
        doing: what was tried.
        error: what the system answered.

    >>> print(FileError("a.json", "written", OSError(errno.EDQUOT, "Quota exceeded")))
    a.json could not be written (Quota exceeded): free some space, then run the \
command again (`train` with --resume)
    """

    def __init__(self, path: str | os.PathLike[str], doing: Doing, error: OSError):
        why = error.strerror or " ".join(str(error).split()) or type(error).__name__
        remedy = _REMEDIES.get(error.errno or 0, "put that right, then run {again}")
        again = "the command again (`train` with --resume)"
        super().__init__(
            f"{path} could not be {doing} ({why}): {remedy.format(again=again)}"
        )
        self.doing, self.errno = doing, error.errno

    @classmethod
    def told(cls, text: str, doing: Doing, number: int | None) -> "FileError":
        """Return the error that another process has had, from its text and fields."""
        error = cls.__new__(cls, text)
        error.doing, error.errno = doing, number
        return error


_ROOM = "free some space, then run {again}"
_PLACE = "correct the path or its permissions, or name another place"
_FILES = "allow more open files (`ulimit -n`), then run {again}"
_REMEDIES = {
    errno.ENOENT: "correct the path, or name another",
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _ROOM),
    **dict.fromkeys(
        (
            *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR),
            *(errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),
        ),
        _PLACE,
    ),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), _FILES),
}


@contextlib.contextmanager
def naming(path: str | os.PathLike[str], doing: Doing) -> Iterator[None]:
    """Turn what the system refuses within the block into a line that names the file.

    Raises:
        FileError: it refused; a file named by a block within this one keeps its name.

    >>> with naming("nowhere.txt", "read"):
    ...     open("nowhere.txt")
    Traceback (most recent call last):
    lars_jax.errors.FileError: nowhere.txt could not be read (No such file or \
directory): correct the path, or name another
    """
    try:
        yield
    except OSError as error:
        raise FileError(path, doing, error) from error
