"""Does layer-wise trust keep the game stable where the batch grows?

    python -m benchmarks.mgan.batch --seeds 3

Always as many samples are seen, so the larger the batch the fewer the steps. The rates
of each optimizer are chosen at a batch of 512 by one seed, from the same number of
settings; at other batches three rules of scaling are tried.
"""

import itertools
import math
from pathlib import Path
from typing import Any

import tyro

from benchmarks.common.records import write_record
from experiments.mgan.config import Config
from experiments.mgan.presets import get_preset
from experiments.mgan.run import GameProgram
from lars_jax.train import Interrupt, NonFiniteError
from lars_jax.train.config import replace_fields, to_json
from lars_jax.train.record import append_row, read_lines

COMMAND = "python -m benchmarks.mgan.batch"
SEEN = 3_200_000
"""Real samples of every run: a quarter of the paper's 25,000 steps of 512."""

REFERENCE = 512
BATCHES = (64, 2048, 8192)
RULES = {"same": 0.0, "square root": 0.5, "linear": 1.0}

Changes = dict[str, Any]


def _by_rates(optimizer: str, *names: str) -> dict[str, Changes]:
    """Return settings of rates: the generator's, then the discriminator's if apart.

    >>> _by_rates("adam", "2e-4, 1e-3")["rates 2e-4, 1e-3"]["discriminator_rate"]
    0.001
    """
    found = {}
    for name in names:
        rates = [float(rate) for rate in name.split(", ")]
        fields = {"generator_rate": rates[0], "discriminator_rate": rates[-1]}
        found[f"rates {name}"] = fields | {"optimizer": optimizer}
    return found


def _by_trust(*settings: tuple[float, float, int]) -> dict[str, Changes]:
    """Return settings of LARS: eta, beta, times the generator's rate.

    >>> list(_by_trust((0.05, 1e-4, 4)))
    ['eta 0.05, beta 0.0001, discriminator 4 times']
    """
    found = {}
    for eta, beta, factor in settings:
        decay = f", beta {beta:g}" if beta else ""
        balance = f", discriminator {factor} times" if factor > 1 else ""
        found[f"eta {eta:g}{decay}{balance}"] = {
            "optimizer": "lars",
            "generator_rate": 0.05,
            "discriminator_rate": factor * 0.05,
            "trust_coefficient": eta,
            "weight_decay": beta,
        }
    return found


GROUPS: dict[str, dict[str, Changes]] = {
    "adam": _by_rates(
        "adam", "2e-4", "2e-4, 1e-3", "5e-4", "5e-4, 2e-3", "1e-3", "1e-3, 4e-3"
    ),
    "lars": _by_trust(
        *((eta, 0.0, 1) for eta in (0.02, 0.05, 0.2, 0.8)),
        *((eta, 0.0, 4) for eta in (0.02, 0.05)),
    ),
    "lars with decay": _by_trust(
        *((0.05, beta, 4) for beta in (1e-5, 1e-4, 1e-3)),
        (0.1, 1e-4, 4),
        *((0.05, beta, 1) for beta in (1e-5, 1e-4)),
    ),
    "lamb": _by_rates(
        "lamb", "1e-3", "1e-3, 4e-3", "3e-3", "3e-3, 1e-2", "1e-2", "1e-2, 4e-2"
    ),
}
"""Settings that each optimizer may choose from, by name: as many for each."""


def at_batch(config: Config, batch: int, power: float) -> Config:
    """Return a configuration for another batch, the samples seen unchanged.

    >>> small = at_batch(get_preset("ring").config, 2048, 1.0)
    >>> small.steps, small.fakes, small.optimizer.generator_rate
    (1560, 512, 0.0008)
    """
    factor = (batch / REFERENCE) ** power
    # Whole fifths, each a call of the program.
    steps = SEEN // batch // 5 * 5
    return replace_fields(
        config,
        batch=batch,
        fakes=batch // 4,
        steps=steps,
        steps_per_call=steps // 5,
        eval_every=steps // 5,
        checkpoint_every=steps,
        generator_rate=factor * config.optimizer.generator_rate,
        discriminator_rate=factor * config.optimizer.discriminator_rate,
        average_decay=0.0,
    )


def play(config: Config) -> dict[str, float]:
    """Return how a game ends, without files; nothing but NaN where it diverges."""
    program = GameProgram(config)
    try:
        state, _ = program.fit(program.init())
        return program.evaluate(state, Interrupt())
    except (NonFiniteError, ValueError):
        return {"wasserstein": float("nan"), "modes": 0.0}


def main(log: str = "runs/mgan_batch.jsonl", seeds: int = 3, group: str = "") -> None:
    """Play all that the log lacks; with all groups done write the record.

    Args:
        log: file of the runs that are done.
        seeds: runs of each.
        group: play this one of `GROUPS` alone, and write no record.
    """
    path = Path(log)
    path.parent.mkdir(parents=True, exist_ok=True)
    chosen: dict[str, str] = {}
    runs: list[dict[str, Any]] = []
    for name in [group] if group else GROUPS:
        tried = [run(path, rates, name, REFERENCE, "same", 0) for rates in GROUPS[name]]
        chosen[name] = min(tried, key=_distance)["rates"]
        runs += tried
        cases = [(REFERENCE, "same"), *itertools.product(BATCHES, RULES)]
        every = [*itertools.product(range(seeds), cases)]
        # The first of them was one of those tried.
        for seed, (batch, rule) in every[1:]:
            runs.append(run(path, chosen[name], name, batch, rule, seed))
    if not group:
        command = f"{COMMAND} --seeds {seeds}"
        print(write_record("mgan_batch", command, seen=SEEN, chosen=chosen, runs=runs))


def run(
    path: Path, rates: str, group: str, batch: int, rule: str, seed: int
) -> dict[str, Any]:
    """Return one run from the log, where it is added if it is not there yet."""
    key = dict(optimizer=group, rates=rates, batch=batch, rule=rule, seed=seed)
    for found in read_lines(path):
        if key.items() <= found.items():
            return found
    base = replace_fields(get_preset("ring").config, seed=seed, **GROUPS[group][rates])
    config = at_batch(base, batch, RULES[rule])
    final = play(config)
    line = f"W {final['wasserstein']:.3f} modes {final['modes']}"
    print(*key.values(), line, flush=True)
    found = key | {"config": to_json(config), "final": final}
    append_row(path, found)
    return found


def _distance(run: dict[str, Any]) -> tuple[bool, float]:
    """Return what to sort by: a NaN is no number to be the least."""
    found = run["final"]["wasserstein"]
    return math.isnan(found), found


if __name__ == "__main__":
    tyro.cli(main)
