"""The words that every `train` takes beside its configuration."""

from dataclasses import dataclass
from pathlib import Path

from lars_jax.runs.directory import Resume


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Where a run is written, whether it goes on, and how it ends on a signal.

    >>> Launch(resume=True).going_on
    'yes'
    """

    run_dir: Path | None = None
    """Where the run is written; a dated directory under runs/ where left out."""
    resume: bool = False
    """Go on from the last checkpoint in --run-dir."""
    resume_if_any: bool = False
    """Go on if --run-dir holds a run, else begin: one command to start and restart."""
    grace: float = 25.0
    """Seconds after a signal in which a step must end, or the process ends unsaved."""

    @property
    def going_on(self) -> Resume:
        """What to do with a run that is in the directory already."""
        if self.resume_if_any:
            return "if_any"
        return "yes" if self.resume else "no"
