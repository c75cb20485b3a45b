"""How an experiment is run: its record, its commands, and the directory of a run.

What is trained, and what a row of it says, is an experiment's to know. The command line
is `lars_jax.runs.cli`; neither tyro nor Orbax is imported before it is needed.
"""

from lars_jax.runs.checks import (
    BelowOne,
    BoundedFloat,
    NonNegative,
    NonNegativeFloat,
    Positive,
    PositiveFloat,
    Seed,
    check_ranges,
    out_of_range,
    refuse_ignored,
)
from lars_jax.runs.directory import Resume, can_resume, read_run, run_directory
from lars_jax.runs.experiment import Cadence, Experiment, Program, Sources, Verb
from lars_jax.runs.files import Files
from lars_jax.runs.paths import DataDirectory, DatasetName, PathAfter, PathText
from lars_jax.runs.presets import Preset, find_preset
from lars_jax.runs.stages import (
    Stage,
    check_stages,
    is_coherent,
    run_stages,
    stages_through,
)

__all__ = [
    "BelowOne",
    "Cadence",
    "DataDirectory",
    "DatasetName",
    "Experiment",
    "Files",
    "BoundedFloat",
    "NonNegative",
    "NonNegativeFloat",
    "PathAfter",
    "PathText",
    "Positive",
    "PositiveFloat",
    "Preset",
    "Program",
    "Resume",
    "Seed",
    "Sources",
    "Stage",
    "Verb",
    "can_resume",
    "check_ranges",
    "check_stages",
    "is_coherent",
    "find_preset",
    "out_of_range",
    "refuse_ignored",
    "read_run",
    "run_directory",
    "run_stages",
    "stages_through",
]
