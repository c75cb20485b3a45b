"""Table 2 of the paper on photographs: norms of weights and gradients at the start.

    python -m benchmarks.lars.layer_norms --photographs imagenet1k_s256.npz

The paper does not say of which batch its table is. A batch is drawn with replacement
from one photograph of each of the 1,000 classes, and each draw is cropped, mirrored
and dropped out anew, so that labels repeat as they do in batches of ImageNet.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.common.commands import command
from benchmarks.common.photographs import read_photographs
from benchmarks.common.records import is_of, write_record
from benchmarks.lars.layer_norms_networks import DEPARTURES, NETWORKS, network
from experiments.lars.config import Config
from experiments.lars.presets import get_preset
from experiments.lars.program import ImageFacts, make_loss, make_state
from lars_jax.data import known_statistics
from lars_jax.data.decode import decode_image
from lars_jax.data.fingerprint import digest_array
from lars_jax.errors import InputError
from lars_jax.optim import layer_names
from lars_jax.train.config import to_json
from lars_jax.train.record import append_row, read_json, read_lines, write_json

COMMAND = "python -m benchmarks.lars.layer_norms --photographs NPZ"
PRESET = "alexnet_bn_512_lars_1step"
CLASSES = 1000

PART = 128
"""Examples whose gradient is taken at once, and the ghost batch of AlexNet-BN."""

BATCHES = (128, 512, 1024, 4096)

PAPER = {
    "conv1": (1.86, 0.22, 0.098, 0.017),
    "conv2": (5.546, 0.165, 0.16, 0.002),
    "conv3": (9.40, 0.135, 0.196, 0.0015),
    "conv5": (6.65, 0.09, 0.16, 0.0002),
    "fc6": (30.7, 0.26, 6.4, 0.005),
    "fc7": (20.5, 0.30, 6.4, 0.013),
    "fc8": (20.2, 0.22, 0.316, 0.016),
}
"""Table 2: norms of kernel, its gradient, bias, its gradient. Its `.w` and `.b` are
exchanged."""


def bias_gradient(batch: int, classes: int = CLASSES) -> float:
    """Return the norm of the gradient of the last bias before anything is learned.

    The gradient is the mean of p - y with p = 1 / K for all K classes. Of B labels that
    are drawn evenly, with replacement, the mean of ||mean of y - 1 / K||^2 is

        (1 - 1 / K) / B

    >>> round(bias_gradient(512), 4), round(bias_gradient(4096), 4)
    (0.0442, 0.0156)
    """
    return math.sqrt((1 - 1 / classes) / batch)


def beside_paper(layers: Mapping[str, Mapping[str, float]], batch: int) -> str:
    """Return a table of gradients beside those of the paper.

    Args:
        layers: norms by the name of the parameter.
        batch: that the gradients are of.

    >>> layers = {f"{name}/{kind}": {"gradient_norm": 0.5}
    ...     for name in PAPER for kind in ("kernel", "bias")}
    >>> print(beside_paper(layers, 4096).splitlines()[2])
    | conv1 | 0.5000 | 0.22 | 0.5000 | 0.017 |
    """
    lines = ["| layer | kernel | paper | bias | paper |", "|---|---|---|---|---|"]
    for name, (_, kernel, _, bias) in PAPER.items():
        ours = [
            layers[f"{name}/{kind}"]["gradient_norm"] for kind in ("kernel", "bias")
        ]
        lines.append(f"| {name} | {ours[0]:.4f} | {kernel} | {ours[1]:.4f} | {bias} |")
    expected = bias_gradient(batch)
    return "\n".join([*lines, f"bias of fc8 expected at {batch}: {expected:.4f}"])


def norms(
    config: Config,
    name: str,
    image: np.ndarray,
    label: np.ndarray,
    seed: int,
    **changes: Any,
) -> Iterator[tuple[int, dict[str, dict[str, float]]]]:
    """Yield each batch size and every layer's norms, of batches that grow.

    Args:
        config: gives the crop.
        name: of the network.
        image: uint8 [N, H, W, 3], that batches are drawn from.
        label: int32 [N].
        seed: of weights, draws, crops and dropout.
        changes: attributes of the network that are others.
    """
    statistics = known_statistics("imagenet2012")
    assert statistics is not None
    # As `--scaling caffe` has them: pixels of 0 to 255 less their mean.
    facts = ImageFacts(CLASSES, 3, tuple(statistics[0]), (1 / 255,) * 3)
    own = network(name, CLASSES, PART, **changes)
    weights, key = jax.random.split(jax.random.key(seed))
    state = make_state(config, facts, own, weights)
    params = state.params
    loss_fn = make_loss(config, facts, own, {"key": key}, key)

    @jax.jit
    def add(total: Any, part: Any) -> Any:
        gradient, _ = jax.grad(loss_fn, has_aux=True)(
            params, state.model_state, part, key
        )
        return jax.tree.map(jnp.add, total, gradient)

    drawn = np.random.default_rng(seed).integers(len(image), size=max(BATCHES))
    total = jax.tree.map(jnp.zeros_like, params)
    for begin in range(0, len(drawn), PART):
        index = np.arange(begin, begin + PART, dtype=np.int32)
        rows = {"image": image[drawn[index]], "label": label[drawn[index]]}
        total = add(total, rows | {"index": index, "epoch": np.zeros_like(index)})
        if (batch := begin + PART) in BATCHES:
            mean = jax.tree.map(lambda leaf: leaf / (batch // PART), total)
            yield batch, _by_layer(params, mean)


def _by_layer(params: Any, gradient: Any) -> dict[str, dict[str, float]]:
    lengths = (
        [float(jnp.linalg.norm(leaf.ravel())) for leaf in jax.tree.leaves(tree)]
        for tree in (params, gradient)
    )
    return {
        name: {"weight_norm": weight, "gradient_norm": own}
        for name, weight, own in zip(layer_names(params), *lengths, strict=True)
    }


def begin(run_dir: Path, config: Config, digest: str) -> list[dict[str, Any]]:
    """Return the rows that a directory has already.

    Args:
        run_dir: made if absent.
        config: that they must be of.
        digest: of the photographs that they must be of.

    Raises:
        InputError: they are of others.
    """
    path, rows = run_dir / "config.json", list(read_lines(run_dir / "rows.jsonl"))
    if not rows:
        run_dir.mkdir(parents=True, exist_ok=True)
        write_json(path, {"config": to_json(config), "photographs": digest})
        return rows
    found = read_json(path) if path.exists() else {"config": {}}
    if found.get("photographs") != digest or not is_of(found, config):
        raise InputError(
            "rows must be of one configuration and the same photographs; those in "
            f"{run_dir} are of others: name another --run-dir"
        )
    return rows


def main(
    photographs: Path, run_dir: Path = Path("runs/layer_norms"), seeds: int = 3
) -> None:
    """Measure what is missing, and write `records/layer_norms.json`.

    Args:
        photographs: npz file with a photograph of each class.
        run_dir: where rows are kept as they come.
        seeds: of weights and batches.
    """
    config = get_preset(PRESET).config
    files, label = read_photographs(photographs)
    side = config.data.resize
    image = np.stack(
        [
            decode_image(one, channels=3, where="a photograph", size=side)
            for one in files
        ]
    )
    rows, path = begin(run_dir, config, digest_array(image)), run_dir / "rows.jsonl"
    done = {
        (row["network"], row["seed"]) for row in rows if row["batch"] == BATCHES[-1]
    }
    for seed in range(seeds):
        for name in NETWORKS | DEPARTURES:
            if (name, seed) in done:
                continue
            for batch, layers in norms(config, name, image, label, seed):
                row = {"network": name, "seed": seed, "batch": batch, "layers": layers}
                append_row(path, row)
                print(f"{name}, seed {seed}\n{beside_paper(layers, batch)}", flush=True)
    found = {(r["network"], r["seed"], r["batch"]): r for r in read_lines(path)}
    runs = [found[k] for k in sorted(found)]
    again = f"{COMMAND} --seeds {seeds}"
    print(write_record("layer_norms", again, runs=runs, config=to_json(config)))


if __name__ == "__main__":
    command(main)
