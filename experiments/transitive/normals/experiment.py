"""The commands of normals: `python -m experiments.transitive.normals VERB ...`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.transitive.normals.check import check
from experiments.transitive.normals.config import Config
from experiments.transitive.normals.presets import PRESETS
from lars_jax.runs import Experiment, Program, Sources, Verb, cli


def main(words: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status; see `lars_jax.runs.cli`."""
    return cli.main(NORMALS, words)


def _compile(config: Config, mesh: Any, memory: int) -> tuple[str, Any]:
    from experiments.transitive.normals.ahead import compile_training

    return compile_training(config, mesh, memory)


def _build(config: Config, sources: Sources) -> Program[Any]:
    from experiments.transitive.normals.program import NormalsProgram
    from experiments.transitive.normals.targets import load_targets

    del sources
    return NormalsProgram(config, *load_targets(config.data))


def _files(config: Config) -> Mapping[str, Path | Sequence[Path]]:
    from experiments.transitive.normals.nyu import archives

    path, splits = Path(config.data.frames), config.data.splits
    if splits is not None:
        return {"frames": path, "splits": Path(splits)}
    return {"frames": archives(path)}


def _tell(experiment: Experiment[Config], words: list[str]) -> int:
    from experiments.transitive.normals.own_pictures import tell_of

    return tell_of(experiment, words)


def _report(directory: Path) -> Path:
    from experiments.transitive.normals.results import write_normals_report

    return write_normals_report(directory)


def _show(config: Config) -> Iterator[str]:
    from experiments.transitive.normals.show import describe

    return describe(config)


NORMALS = Experiment(
    command="python -m experiments.transitive.normals",
    summary="Surface normals from photographs, to see what features are good for.",
    config=Config,
    presets=PRESETS,
    default="small",
    check=check,
    files=_files,
    build=_build,
    compile=_compile,
    report=_report,
    show=_show,
    verbs={
        "tell": Verb(
            "RUN_DIR IMAGE ... [--out DIR]",
            "the normals of pictures, by a trained network, drawn",
            _tell,
        )
    },
)
"""Surface normals of NYUv2."""
