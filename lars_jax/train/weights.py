"""Weights in plain files, for other programs and from them.

A checkpoint holds the whole state of a run, in Orbax's layout; these files hold named
arrays and nothing else, and are read by NumPy or by safetensors.
"""

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lars_jax.errors import FileError, InputError, naming
from lars_jax.files import local_path, replacing

SUFFIXES = (".npz", ".safetensors")
"""Kinds of files, by their names."""

MOST_NAMES = 5
"""Names that a message lists."""


def check_place(path: Path) -> Path:
    """Return where a file of weights is to be written, `~` its home directory.

    Raises:
        InputError: it may not be written there, or is of an unknown kind.
    """
    path = _checked(path)
    if not path.parent.is_dir():
        raise InputError(
            f"a file of weights needs a directory to lie in; {path.parent} is none: "
            "make it, or name another"
        )
    if path.is_dir():
        raise InputError(
            f"weights are kept in a file; {path} is a directory: name another"
        )
    return path


def save_weights(path: Path, tree: Any, about: Mapping[str, str] | None = None) -> None:
    """Write a tree of arrays as named arrays, whole or not at all.

    The name of a leaf is its path, joined by slashes: `params/conv1/kernel`.

    Args:
        path: a file that ends in `.npz` or `.safetensors`; replaced if it is there.
        tree: arrays of any shapes and of NumPy's own dtypes.
        about: metadata of a `.safetensors` file; a `.npz` file has none.

    Raises:
        InputError: another kind of file, no directory for it, two arrays of one name,
            or a dtype that NumPy does not have.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "weights.npz"
    >>> save_weights(path, {"params": {"fc": np.array([3.0, 4.0], np.float32)}})
    >>> load_weights(path, {"params": {"fc": np.zeros(2, np.float32)}})
    {'params': {'fc': array([3., 4.], dtype=float32)}}
    """
    path, names = check_place(path), _names(tree)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(
            f"each array of a file has a name of its own; got {twice} twice: rename one"
        )
    named = zip(names, jax.tree.leaves(jax.device_get(tree)), strict=True)
    # Safetensors has no strides.
    arrays = {name: np.asarray(value, order="C") for name, value in named}
    foreign = [
        name for name, array in arrays.items() if array.dtype.kind not in "biufc"
    ]
    if foreign:
        raise InputError(
            "a plain file holds arrays of NumPy's own dtypes; got "
            f"{arrays[foreign[0]].dtype} at {foreign[0]}: convert them first"
        )
    with replacing(path) as temporary:
        if path.suffix == ".npz":
            _write_npz(temporary, arrays)
        else:
            from safetensors.numpy import save

            # Its own way to a file words what the system refuses as errors of its own.
            temporary.write_bytes(_with_metadata(save(arrays), about or {}))


def _write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    # `np.savez` takes names for arguments, and drops those that are its own.
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            # Of one date, so that the same arrays are the same bytes.
            member = zipfile.ZipInfo(f"{name}.npy")
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _with_metadata(data: bytes, about: Mapping[str, str]) -> bytes:
    """Return a safetensors file with metadata in an order that is always the same.

    The library writes them in an order of chance, by which the same weights would have
    another checksum each time.
    """
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    if about:
        header = {"__metadata__": dict(sorted(about.items()))} | header
    text = json.dumps(header, separators=(",", ":")).encode()
    # What follows begins at a multiple of eight.
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def load_weights(path: Path, like: Any) -> Any:
    """Return the arrays of a file in the structure of a tree.

    Args:
        path: what `save_weights` wrote, or any file of arrays with these names.
        like: a tree of arrays or of `jax.ShapeDtypeStruct`.

    Returns:
        NumPy arrays in the structure of `like`.

    Raises:
        InputError: the file cannot be read, or its names, shapes or dtypes are not
            those of `like`.
    """
    found = load_arrays(path)
    expected, structure = jax.tree.flatten(like)
    names = _names(like)
    _refuse(path, "hold every array", [n for n in names if n not in found])
    _refuse(path, "hold no others", [n for n in found if n not in set(names)])
    wrong = [
        f"{name} {found[name].dtype}{list(found[name].shape)} for "
        f"{leaf.dtype}{list(leaf.shape)}"
        for name, leaf in zip(names, expected, strict=True)
        if (found[name].dtype, found[name].shape) != (leaf.dtype, leaf.shape)
    ]
    _refuse(path, "have their shapes and dtypes", wrong)
    return structure.unflatten([found[name] for name in names])


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file by their names, whatever these are.

    Args:
        path: a file of named arrays that ends in `.npz` or `.safetensors`.

    Raises:
        InputError: another kind of file, or one that cannot be read.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "weights.npz"
    >>> np.savez(path, **{"fc.bias": np.array([3.0, 4.0])})
    >>> load_arrays(path)
    {'fc.bias': array([3., 4.])}
    """
    path = _checked(path)
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        with naming(path, "read"), path.open("rb") as file:
            if path.suffix == ".safetensors":
                return load(file.read())
            with np.load(file, allow_pickle=False) as arrays:
                found = dict(arrays)
        others = [k for k, v in found.items() if not isinstance(v, np.ndarray)]
        if others:
            raise ValueError(f"{others[0]} is no array")
        return found
    except FileError:
        raise
    except (*_BROKEN, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"a file of weights must be whole; {path} is not "
            f"({type(error).__name__}: {reason})"
        ) from error


def load_about(path: Path) -> dict[str, str]:
    """Return the metadata of a file of weights; a `.npz` file has none.

    Raises:
        InputError: as of `load_arrays`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "weights.safetensors"
    >>> save_weights(path, {"w": np.zeros(1)}, {"network": "resnet20"})
    >>> load_about(path)
    {'network': 'resnet20'}
    """
    path = _checked(path)
    if path.suffix != ".safetensors":
        return {}
    load_arrays(path)  # Whatever is wrong with it is said there.
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(size)).get("__metadata__", {})


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the arrays of a file of a run, in the order of names.

    Raises:
        InputError: it cannot be read, or has none of a name.
    """
    try:
        arrays = load_arrays(path)
        absent = [name for name in names if name not in arrays]
        if not absent:
            return {name: arrays[name] for name in names}
        told = f"it has no {', no '.join(absent)}"
    except InputError as error:
        told = str(error.__cause__ or error)
    raise InputError(
        f"{path} must be an npz file of this run; {told}: remove it to report without "
        "it"
    )


def _checked(path: Path) -> Path:
    path = local_path(path)
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"weights are kept in files named *{' or *'.join(SUFFIXES)}; got {path}: "
            "rename it"
        )
    return path


# Of a dtype that NumPy has not, of another compression, of what is encrypted.
_FOREIGN = (KeyError, NotImplementedError, RuntimeError)
_BROKEN = (ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error, *_FOREIGN)


def _names(tree: Any) -> list[str]:
    return [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree.leaves_with_path(tree)
    ]


def _refuse(path: Path, rule: str, wrong: list[str]) -> None:
    if wrong:
        more = f" and {len(wrong) - MOST_NAMES} more" if wrong[MOST_NAMES:] else ""
        raise InputError(
            f"a file of weights must {rule} of the network; in {path} it is not so for "
            f"{', '.join(wrong[:MOST_NAMES])}{more}: take the file of the same network"
        )
