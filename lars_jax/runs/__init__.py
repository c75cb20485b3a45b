"""How a command begins and ends, and the directory that a run leaves.

What is trained, and what a row of it says, is an experiment's to know. tyro is imported
where words are parsed, TensorBoard where a run opens its files, neither before.
"""

from lars_jax.runs.arguments import Verb, dispatch, parse, run_command, split_preset
from lars_jax.runs.directory import (
    Resume,
    claim,
    default_directory,
    goes_on,
    read_run,
)
from lars_jax.runs.ending import TERMINATED, run_among, tell
from lars_jax.runs.files import Files, RunFiles, warn
from lars_jax.runs.launch import Launch
from lars_jax.runs.presets import Preset, find_preset, heading, overview

__all__ = [
    "TERMINATED",
    "Files",
    "Launch",
    "Preset",
    "Resume",
    "RunFiles",
    "Verb",
    "claim",
    "default_directory",
    "dispatch",
    "find_preset",
    "goes_on",
    "heading",
    "overview",
    "parse",
    "read_run",
    "run_among",
    "run_command",
    "split_preset",
    "tell",
    "warn",
]
