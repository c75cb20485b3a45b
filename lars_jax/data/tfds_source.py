"""Data sets that TensorFlow Datasets has prepared, read without TensorFlow.

Only data prepared as `array_record` can be read that way, and nothing here ever
downloads: what is missing is refused in one line that says how to prepare it.
"""

import contextlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lars_jax.data.decode import Fit, decode_image, image_size
from lars_jax.data.fingerprint import Fingerprint, digest_files
from lars_jax.data.source import Example
from lars_jax.errors import InputError
from lars_jax.files import local_path

_NAME = re.compile(r"(?P<name>\w+)(/(?P<config>[\w.+-]+))?(:(?P<version>\d+(\.\d+)*))?")


@dataclass(frozen=True)
class TfdsSource:
    """A split of a prepared TFDS data set for image classification.

    Attributes:
        name: name, version and split.
        class_names: the classes, as the data set lists them.
        records: TFDS's data source, its images left encoded.
        image_key: name of the image in a record.
        label_key: name of the label in a record.
        channels: 1 or 3.
        folder: where the shards lie.
        shards: names of the files that the split is read from.
        size: height and width of all images, None where they are not known.
    """

    name: str
    class_names: tuple[str, ...]
    records: Any
    image_key: str
    label_key: str
    channels: int
    folder: Path
    shards: tuple[str, ...]
    size: tuple[int, int] | None

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int, /) -> Example:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int], /) -> list[Example]:
        return self._read(indices)

    def read_resized(
        self, indices: Sequence[int], size: int, fit: Fit
    ) -> list[Example]:
        """Return examples with their images resized to squares."""
        return self._read(indices, size=size, fit=fit)

    def _read(self, indices: Sequence[int], **resizing: Any) -> list[Example]:
        pairs = zip(indices, self._records(indices), strict=True)
        return [self._decode(index, record, **resizing) for index, record in pairs]

    def fingerprint(self) -> Fingerprint:
        """Return what the split is known by: its name, its shards and its classes."""
        parts = digest_files(self.folder, self.shards) | {self.name: "split"}
        return Fingerprint(len(self), self.class_names, parts)

    def image_size(self, index: int) -> tuple[int, int]:
        """Return height and width of an image, known of all or from its header."""
        if self.size is not None:
            return self.size
        where = f"example {index} of {self.name}"
        return image_size(self._records([index])[0][self.image_key], where=where)

    def _records(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        try:
            return self.records.__getitems__(list(indices))
        # Readers of damaged shards raise several kinds, and name no file.
        except Exception as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise InputError(
                f"A record must be readable; of examples {indices[0]} to {indices[-1]} "
                f"of {self.name} in {self.folder} one is not ({reason}): copy or "
                "prepare it again."
            ) from error

    def _decode(self, index: int, record: dict[str, Any], **resizing: Any) -> Example:
        where = f"example {index} of {self.name}"
        image = decode_image(
            record[self.image_key], channels=self.channels, where=where, **resizing
        )
        return image, int(record[self.label_key])


def tfds_source(
    dataset: str, split: str, *, data_dir: str | Path | None = None
) -> TfdsSource:
    """Return a split of a prepared TFDS data set.

    Args:
        dataset: a TFDS name, with a config and a version where wanted: "cifar10",
            "cifar100:3.0.2", "imagenet_resized/32x32". The newest version is the
            default.
        split: its name, or a part of it such as "train[:10%]".
        data_dir: where prepared data sets lie; else $TFDS_DATA_DIR, else
            ~/tensorflow_datasets.

    Returns:
        A source of uint8 [H, W, C] images.

    Raises:
        InputError: the data set is not prepared, not as array_record, incomplete or not
            one of labelled 8-bit images; or it has no such split.

    >>> tfds_source("cifar10", "train", data_dir="/no/such/place")
    Traceback (most recent call last):
    lars_jax.errors.InputError: The data set 'cifar10' is not prepared: ...
    """
    folder = find_prepared(dataset, data_dir)
    # Half a second, and no other source needs it.
    import tensorflow_datasets as tfds

    try:
        builder: Any = tfds.builder_from_directory(folder)
    # Damaged descriptions raise many kinds.
    except Exception as error:
        raise InputError(
            f"A prepared data set has readable descriptions, {folder} has not "
            f"({' '.join(str(error).split())[:200]}); prepare it again."
        ) from error
    shards = _complete_shards(builder, dataset, split)
    image_key, label_key = _keys(builder, dataset)
    # Pillow decodes what TFDS would decode by OpenCV where that happens to be
    # installed: the pixels must not depend on it.
    skip: Any = tfds.decode.SkipDecoding
    records = builder.as_data_source(split, decoders={image_key: skip()})
    image, label = builder.info.features[image_key], builder.info.features[label_key]
    return TfdsSource(
        name=f"{builder.info.full_name}/{split}",
        class_names=tuple(label.names),
        records=records,
        image_key=image_key,
        label_key=label_key,
        channels=1 if image.shape[-1] == 1 else 3,
        folder=folder,
        shards=tuple(sorted({Path(shard.filename).name for shard in shards})),
        size=None if None in image.shape[:2] else image.shape[:2],
    )


def find_prepared(dataset: str, data_dir: str | Path | None = None) -> Path:
    """Find a prepared data set on disk, without importing TFDS.

    TFDS itself would answer a missing data set with minutes of attempts to download it.

    Args:
        dataset: name, "name/config", either with ":version".
        data_dir: as for `tfds_source`.

    Returns:
        The folder with its dataset_info.json, of the newest version that fits.

    Raises:
        InputError: malformed name, nothing prepared, several configs to choose from, or
            a file format other than array_record.

    >>> find_prepared("no such name")
    Traceback (most recent call last):
    lars_jax.errors.InputError: A data set is digits, folder:PATH or a TFDS name ...
    """
    match = _NAME.fullmatch(dataset)
    if match is None:
        raise InputError(
            "A data set is digits, folder:PATH or a TFDS name such as cifar10 or "
            f"cifar100:3.0.2, got {dataset!r}; correct it."
        )
    root = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    root = local_path(root)
    home = root / match["name"]
    if match["config"]:
        home = home / match["config"]
    elif not _versions(home):
        home = _only_config(dataset, home)
    versions = _versions(home)
    if match["version"]:
        versions = [found for found in versions if found.name == match["version"]]
    if not versions:
        have = ", ".join(found.name for found in _versions(home)) or "no version of it"
        raise InputError(
            f"The data set {dataset!r} is not prepared: {home} has {have}; run `tfds "
            f"build {dataset} --file_format=array_record --data_dir={root}` or set "
            "TFDS_DATA_DIR (`digits` needs no download)."
        )
    return _readable(dataset, versions[-1])


def _versions(home: Path) -> list[Path]:
    """Return the folders of all versions that are prepared, in their order."""
    found = [info.parent for info in home.glob("*/dataset_info.json")]
    found = [place for place in found if re.fullmatch(r"\d+(\.\d+)*", place.name)]
    return sorted(found, key=lambda place: [int(n) for n in place.name.split(".")])


def _only_config(dataset: str, home: Path) -> Path:
    configs = [entry for entry in sorted(home.glob("*")) if _versions(entry)]
    if len(configs) > 1:
        raise InputError(
            f"The data set {dataset!r} is prepared in several configs "
            f"({', '.join(entry.name for entry in configs)}); name one, such as "
            f"{home.name}/{configs[0].name}."
        )
    return configs[0] if configs else home


def _readable(dataset: str, folder: Path) -> Path:
    try:
        info = json.loads((folder / "dataset_info.json").read_text("utf-8"))
        file_format = info.get("fileFormat", "tfrecord")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"A prepared data set has a readable dataset_info.json, {folder} has not "
            f"({error}); prepare it again."
        ) from error
    if file_format != "array_record":
        raise InputError(
            f"Reading without TensorFlow takes array_record files, {folder} has "
            f"{file_format}; run `tfds build {dataset} --file_format=array_record` "
            "with another --data_dir."
        )
    return folder


def _complete_shards(builder: Any, dataset: str, split: str) -> list[Any]:
    try:
        shards = builder.info.splits[split].file_instructions
    except (KeyError, ValueError, AssertionError) as error:
        raise InputError(
            f"{dataset} has the splits {', '.join(sorted(builder.info.splits))}, got "
            f"{split!r}; name one, or a part such as train[:10%]."
        ) from error
    if not shards:
        raise InputError(
            f"A split needs examples, {split!r} of {dataset} has none; name another."
        )
    # TFDS counts what the description promises. A shard that is missing, cut short or
    # of another preparation would be noticed only when its last record is asked for.
    for shard in shards:
        held = _count_records(str(shard.filename))
        if held != shard.examples_in_shard:
            raise InputError(
                f"A shard of {dataset} has {shard.examples_in_shard} examples, "
                f"{shard.filename} holds {held}; copy or prepare it again."
            )
    return shards


def _count_records(file: str) -> int:
    from array_record.python.array_record_module import ArrayRecordReader

    reader = ArrayRecordReader(file)
    count = reader.num_records()
    # A missing or damaged file counts 0 and raises only now.
    with contextlib.suppress(RuntimeError):
        reader.close()
    return count


def _keys(builder: Any, dataset: str) -> tuple[str, str]:
    from tensorflow_datasets import features as kinds

    features = builder.info.features
    keys = builder.info.supervised_keys or ("image", "label")
    image_key, label_key = keys if len(keys) == 2 else ("image", "label")
    known = set(features) if isinstance(features, kinds.FeaturesDict) else set()
    if (
        {image_key, label_key} <= known
        and isinstance(features[image_key], kinds.Image)
        and isinstance(features[label_key], kinds.ClassLabel)
        and features[image_key].np_dtype == "uint8"
    ):
        return image_key, label_key
    raise InputError(
        f"Classification takes 8-bit images with one class label each, {dataset} has "
        f"{', '.join(sorted(known)) or 'neither'}; choose another data set."
    )
