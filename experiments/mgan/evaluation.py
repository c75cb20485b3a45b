"""What a game is measured by while it is played, and by `eval` afterwards.

Every number is given for the generators as they are, `eval/...`, and for their moving
average, `eval/average/...`: the paper has no average, so methods are compared by the
former.
"""

from collections.abc import Callable

from experiments.mgan.game import GameState
from experiments.mgan.mixture import make_mixture
from experiments.mgan.plane import floor, make_truth, measure
from experiments.mgan.trainer import Trainer

Evaluate = Callable[[GameState], dict[str, float]]

WAYS = (("eval", False), ("eval/average", True))


def make_evaluation(trainer: Trainer) -> Evaluate:
    """Return what measures a state of a game."""
    count = trainer.config.eval_samples
    if trainer.inputs.image is not None:
        return lambda state: {"eval/count": float(count)}
    truth = make_truth(make_mixture(trainer.config.data))

    def evaluate(state: GameState) -> dict[str, float]:
        found = {"eval/count": float(count)}
        for prefix, averaged in WAYS:
            values, generator = trainer.sample(state, count, averaged=averaged)
            measures = measure(truth, values, generator)
            found |= {f"{prefix}/{name}": value for name, value in measures.items()}
        return found

    return evaluate


def make_floor(trainer: Trainer) -> dict[str, float]:
    """Return the distances that true samples of the same number have, if known."""
    if trainer.inputs.image is not None:
        return {}
    truth = make_truth(make_mixture(trainer.config.data))
    found = floor(truth, trainer.config.eval_samples)
    return {f"floor/{name}": value for name, value in found.items()}
