"""What is carried to other tasks: the rows of the paper's tables that are made here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from experiments.transitive.config import Config
from lars_jax.train.config import replace_fields


@dataclass(frozen=True)
class Method:
    """How convolutions are learned.

    Attributes:
        stage: of the pipeline, whose weights are taken; None: nothing is learned.
        fields: of the pipeline, that differ from its configuration; crops are compared
            by context prediction where they do not say otherwise.
        half_tracks: whether tracks are half as long.
    """

    stage: Literal["context", "triplet"] | None = "triplet"
    fields: Mapping[str, Any] = field(default_factory=dict)
    half_tracks: bool = False

    def config(self, shared: Config) -> Config:
        """Return the pipeline's configuration, by which they are learned.

        >>> METHODS["15-frame"].config(Config()).tracking.track_frames
        15
        """
        own = replace_fields(shared, **{"features": "context", **self.fields})
        if not self.half_tracks:
            return own
        frames = max(1, own.tracking.track_frames // 2)
        return replace_fields(own, track_frames=frames)

    def learned(self, shared: Config) -> tuple[str | None, Config | None]:
        """Return all that its convolutions hang on, but the seed and the data."""
        return self.stage, None if self.stage is None else self.config(shared)

    def of_context(self, shared: Config) -> bool:
        """Return whether convolutions were shown what context prediction shows them."""
        if self.stage == "triplet":
            return self.config(shared).triplet.init == "context"
        return self.stage == "context"


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "Scratch": Method(None),
        "Context": Method("context", {"init": "context"}),
        "Tracking": Method(fields={"transitive_share": 0.0}),
        "Multi-task": Method(fields={"transitive_share": 0.0, "context_weight": 1.0}),
        "Ours": Method(),
        "15-frame": Method(half_tracks=True),
        "HOG": Method(fields={"features": "hog"}),
    }
)
"""By the names of the paper's rows. Multi-task is context prediction with the ranking
of tracks, as there."""
