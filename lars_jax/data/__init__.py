"""Labelled images: sources, order, batches on the host, augmentation on the device."""

from lars_jax.data.arrays import (
    ImageArrays,
    read_batch,
    require_one_size,
    to_arrays,
)
from lars_jax.data.augment import (
    augment,
    center_crop,
    example_keys,
    jitter_colours,
    normalize,
    resized_crops,
)
from lars_jax.data.decode import Fit
from lars_jax.data.digits import digits_source
from lars_jax.data.fingerprint import Fingerprint
from lars_jax.data.folder import FolderSource, folder_source
from lars_jax.data.host import (
    evaluation_batches,
    evaluation_images,
    image_batches,
    index_batches,
)
from lars_jax.data.load import load_source
from lars_jax.data.order import batch_samples, epoch_order
from lars_jax.data.resident import KNOWN_SIZES, ResidentImages
from lars_jax.data.source import (
    ArraySource,
    Source,
    Subset,
    Unlabelled,
    hold_out,
    identify,
)
from lars_jax.data.statistics import (
    KNOWN_STATISTICS,
    ChannelStatistics,
    channel_statistics,
    known_statistics,
)
from lars_jax.data.tfds_source import TfdsSource, find_prepared, tfds_source

__all__ = [
    "KNOWN_SIZES",
    "KNOWN_STATISTICS",
    "ArraySource",
    "ChannelStatistics",
    "Fingerprint",
    "Fit",
    "FolderSource",
    "ImageArrays",
    "ResidentImages",
    "Source",
    "Subset",
    "TfdsSource",
    "Unlabelled",
    "augment",
    "batch_samples",
    "center_crop",
    "channel_statistics",
    "digits_source",
    "epoch_order",
    "evaluation_batches",
    "evaluation_images",
    "example_keys",
    "find_prepared",
    "folder_source",
    "hold_out",
    "identify",
    "image_batches",
    "index_batches",
    "jitter_colours",
    "known_statistics",
    "load_source",
    "normalize",
    "read_batch",
    "require_one_size",
    "resized_crops",
    "tfds_source",
    "to_arrays",
]
