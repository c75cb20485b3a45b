"""NYUv2 from its official files: `nyu_depth_v2_labeled.mat` and `splits.mat`.

The first is a MATLAB file of version 7.3, which is HDF5, with `images` [N, 3, W, H] and
`depths` [N, W, H]: MATLAB's axes in reverse.
"""

import importlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.transitive.normals.nyu import Frame, Frames
from lars_jax.errors import InputError, naming

NAMES = {"trainval": "trainNdxs", "test": "testNdxs"}
"""Names in `splits.mat`; a part of the 795 frames to train on has none there."""


def open_mat(
    path: str | os.PathLike[str], index: Sequence[int] | np.ndarray | None = None
) -> Frames:
    """Return frames of the official file, which are read from it one at a time.

    Args:
        path: of `nyu_depth_v2_labeled.mat`.
        index: numbers of the frames from 0 on, such as `read_split` returns; all
            where there are none.

    Raises:
        InputError: no h5py, not such a file, or a frame that it has not.
        FileError: the system refuses to have it read.
    """
    path = Path(path)
    with _opened(path) as file:
        count = _checked(file, path)
    numbers = np.arange(count) if index is None else np.asarray(index)
    if not len(numbers) or not np.issubdtype(numbers.dtype, np.integer):
        raise InputError(
            "frames are named by whole numbers, one at least; got "
            f"{numbers.dtype} [{len(numbers)}]: correct the list of the split"
        )
    if numbers.min() < 0 or numbers.max() >= count:
        raise InputError(
            f"frames of {path} are 0 to {count - 1}; got {numbers.min()} to "
            f"{numbers.max()}: correct the list of the split"
        )
    numbers = numbers.astype(np.int64)
    return Frames(numbers, 0.0, lambda place: _read(path, int(numbers[place])))


def read_split(path: str | os.PathLike[str], name: str) -> np.ndarray:
    """Read the numbers of a split's frames, int64 [N], from 0 on.

    Args:
        path: `splits.mat`, with `trainNdxs` and `testNdxs` from 1 on; or an `.npz`
            archive with an array of the split's name, which count from 0.
        name: `trainval` or `test`, or a name in the archive.

    Raises:
        InputError: not such a file, or no such split in it.
        FileError: the system refuses to have it read.
    """
    path = Path(path)
    if path.suffix not in (".mat", ".npz"):
        raise InputError(
            "splits are in splits.mat or in an .npz archive with a list of each; got "
            f"{path}: set --splits to one of these"
        )
    with naming(path, "read"):
        content = io.BytesIO(path.read_bytes())
    try:
        if path.suffix == ".mat":
            from scipy.io import loadmat

            known = loadmat(content)
            lists = {k: known[v].ravel() - 1 for k, v in NAMES.items() if v in known}
        else:
            with np.lib.npyio.NpzFile(content) as archive:
                lists = {k: archive[k].ravel() for k in archive.files}
    except Exception as error:  # SciPy and NumPy raise of every kind.
        raise _no_split(path, name, str(error) or type(error).__name__) from error
    if name not in lists:
        raise _no_split(path, name, f"it has {', '.join(lists) or 'no list'}")
    numbers = lists[name]
    if not np.issubdtype(numbers.dtype, np.number) or (numbers % 1 != 0).any():
        raise _no_split(path, name, "other values")
    if len(numbers) != len(np.unique(numbers)) or not len(numbers):
        raise _no_split(path, name, f"{len(numbers)}, or some twice")
    return numbers.astype(np.int64)


def _read(path: Path, number: int) -> Frame:
    with _opened(path) as file:
        try:
            image, depth = file["images"][number], file["depths"][number]
        except OSError as error:
            raise _not_mat(path, f"a damaged frame {number}") from error
    depth = np.where(np.isfinite(depth) & (depth > 0), depth, 0)
    image = np.ascontiguousarray(image.transpose(2, 1, 0))
    return Frame(image, np.ascontiguousarray(depth.T, np.float32), number)


def _opened(path: Path) -> Any:
    try:
        # Of an extra: type checkers do not look for it.
        h5py = importlib.import_module("h5py")
    except ImportError as error:
        raise InputError(
            f"h5py must be installed to read {path}; it is not ({error}): "
            "pip install -e '.[transfer]'"
        ) from error
    with naming(path, "read"), path.open("rb"):
        pass  # Of a file that is not there h5py says much, on one line or more.
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise _not_mat(path, "no HDF5") from error


def _checked(file: Any, path: Path) -> int:
    missing = [name for name in ("images", "depths") if name not in file]
    if missing:
        raise _not_mat(path, f"no {', '.join(missing)}")
    images, depths = (getattr(file[name], "shape", ()) for name in ("images", "depths"))
    if len(images) != 4 or images[1] != 3 or file["images"].dtype != np.uint8:
        raise _not_mat(path, f"images {list(images)}")
    if depths != (images[0], *images[2:]):
        raise _not_mat(path, f"depths {list(depths)} for images {list(images)}")
    return images[0]


def _not_mat(path: Path, why: str) -> InputError:
    return InputError(
        "nyu_depth_v2_labeled.mat has images [N, 3, W, H], uint8, and depths "
        f"[N, W, H]; {path} has {why}: name another file, or fetch it again"
    )


def _no_split(path: Path, name: str, why: str) -> InputError:
    why = " ".join(why.split())
    return InputError(
        f"a split is a list of frames, each once; {path} has none of {name} ({why}): "
        "set --train-split and --test-split to others, or --splits to another file"
    )
