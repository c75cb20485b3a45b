"""Images without their labels, for what learns from images alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lars_jax.data.fingerprint import Fingerprint
from lars_jax.data.source import Example, Source, identify


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """A source whose every image has the label 0, whatever label it had.

    The unlabelled split of STL-10 gives its images the label -1, which no class has.

    Attributes:
        source: where the images come from.

    >>> from lars_jax.data.digits import digits_source
    >>> Unlabelled(digits_source("test"))[3][1]
    0
    """

    source: Source

    @property
    def name(self) -> str:
        """Name of the data set and split."""
        return self.source.name

    @property
    def class_names(self) -> tuple[str, ...]:
        """The one class that there is."""
        return ("image",)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int, /) -> Example:
        return self.source[index][0], 0

    def __getitems__(self, indices: Sequence[int], /) -> list[Example]:
        read_many = getattr(self.source, "__getitems__", None)
        found = read_many(indices) if read_many else [self.source[i] for i in indices]
        return [(np.asarray(image), 0) for image, _ in found]

    def fingerprint(self) -> Fingerprint:
        """Return what the source is known by, its labels included."""
        return identify(self.source)
