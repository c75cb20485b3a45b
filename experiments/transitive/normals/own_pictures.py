"""`tell RUN IMAGE ...`: the surface normals of a user's own pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from experiments.transitive.normals.config import Config
from experiments.transitive.own_pictures import places_for
from lars_jax.data.decode import decode_image
from lars_jax.errors import naming
from lars_jax.files import make_directory
from lars_jax.report import save_png
from lars_jax.runs import Experiment
from lars_jax.runs.arguments import parse
from lars_jax.runs.cli import Checkpoint
from lars_jax.runs.files import warn
from lars_jax.runs.restore import config_to_evaluate, read_state
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
    checkpoint: Checkpoint = "last"
    """The last state of the run, or the one that evaluated best."""


def tell_of(experiment: Experiment[Config], words: list[str]) -> int:
    """Run the verb and return the exit status.

    Frames are not needed: all that the network needs of them is in its state.

    Raises:
        InputError: no picture, two of one name, one that cannot be read, or one that
            would be drawn over.
    """
    asked = parse(Tell, words, prog=f"{experiment.command} tell")
    places = places_for(asked.images, asked.out)
    with Interrupt() as interrupt:
        try:
            _draw(experiment, asked, places, interrupt)
        except Interrupted:
            warn("stopped before all was drawn")
            return interrupt.exit_status
    return 0


def _draw(
    experiment: Experiment[Config],
    asked: Tell,
    places: Sequence[Path],
    interrupt: Interrupt,
) -> None:
    from experiments.transitive.normals.program import NormalsProgram, picture, tell
    from experiments.transitive.normals.targets import NO_TARGETS

    config = config_to_evaluate(experiment, asked.run_dir)
    # Before the run is restored: a name that was mistyped shows at once.
    size = (config.data.height, config.data.length)
    images = np.stack([_resized(path, size) for path in asked.images])
    program = NormalsProgram(config, NO_TARGETS, NO_TARGETS)
    _, state = interrupt.run(
        lambda: read_state(asked.run_dir, program, asked.checkpoint)
    )
    make_directory(asked.out)
    for some, normals in tell(program, state, images, interrupt):
        for number, told in zip(some.tolist(), normals, strict=True):
            drawn = picture(told, np.ones(told.shape[:2], bool))
            save_png(places[number], np.hstack([images[number], drawn]))
            print(f"{asked.images[number]}: {places[number]}")


def _resized(path: Path, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    with naming(path, "read"):
        data = path.read_bytes()
    image = Image.fromarray(decode_image(data, channels=3, where=str(path)))
    height, width = size
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
