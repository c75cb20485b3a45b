"""`tell RUN IMAGE ...`: the surface normals of a user's own pictures."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from experiments.transitive.normals.config import Config
from experiments.transitive.own_pictures import require_names
from lars_jax.data.decode import decode_image
from lars_jax.errors import naming
from lars_jax.files import make_directory
from lars_jax.report import save_png
from lars_jax.runs import Experiment, Program, Sources
from lars_jax.runs.arguments import parse
from lars_jax.runs.restore import load_config, restore
from lars_jax.train import Interrupt, Interrupted


@dataclass(frozen=True)
class Tell:
    """Draw the surface normals that a trained network tells of pictures."""

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """Directory that `train` wrote."""
    images: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="IMAGE")
    ]
    """Pictures to look at; they are resized to what the network is shown."""
    out: Path = Path("normals")
    """Directory that gets a PNG for each, the picture beside its normals."""


def tell_of(experiment: Experiment[Config], words: list[str]) -> int:
    """Run the verb and return the exit status.

    Raises:
        InputError: no picture, two of one name, or one that cannot be read.
    """
    asked = parse(Tell, words, prog=f"{experiment.command} tell")
    require_names(asked.images)
    with Interrupt() as interrupt:
        try:
            _draw(experiment, asked, interrupt)
        except Interrupted:
            return interrupt.exit_status
    return 0


def _draw(experiment: Experiment[Config], asked: Tell, interrupt: Interrupt) -> None:
    from experiments.transitive.normals.program import picture, tell

    # Before the run is restored: a name that was mistyped shows at once.
    data = load_config(experiment, asked.run_dir).data
    size = (data.height, data.length)
    images = np.stack([_resized(path, size) for path in asked.images])
    alone = replace(experiment, files=lambda config: {}, build=_without_frames)
    restored = interrupt.run(
        lambda: restore(alone, asked.run_dir, accept_data_change=True)
    )
    make_directory(asked.out)
    of_all = tell(restored.program, restored.state, images, interrupt)
    for places, normals in of_all:
        for place, told in zip(places.tolist(), normals, strict=True):
            drawn = picture(told, np.ones(told.shape[:2], bool))
            path = asked.out / f"{asked.images[place].stem}.png"
            save_png(path, np.hstack([images[place], drawn]))
            print(f"{asked.images[place]}: {path}")


def _without_frames(config: Config, sources: Sources) -> Program[Any]:
    """Return the program: all that it needs of frames is in its state."""
    from experiments.transitive.normals.program import NormalsProgram
    from experiments.transitive.normals.targets import NO_TARGETS

    del sources
    return NormalsProgram(config, NO_TARGETS, NO_TARGETS)


def _resized(path: Path, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    with naming(path, "read"):
        data = path.read_bytes()
    image = Image.fromarray(decode_image(data, channels=3, where=str(path)))
    height, width = size
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
