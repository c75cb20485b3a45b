"""Rows like those that a run writes, and a reader of the page they become."""

import io
import math
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import numpy as np

from lars_jax.report import Mistakes

VOID = {"meta", "img", "br", "hr", "link", "input"}


def training(steps: int) -> list[dict[str, Any]]:
    """Rows of `steps` updates: a falling loss, a rising accuracy, a constant rate."""
    return [
        {
            "step": step,
            "epoch": step / 10,
            "train/loss": 2.0 / step,
            "train/accuracy": 1 - 0.9 / step,
            "learning_rate": 0.5,
            "images_per_second": 1000.0,
            "data_wait": 0.01,
        }
        for step in range(1, steps + 1)
    ]


def evaluation(step: int, accuracy: float) -> dict[str, Any]:
    return {
        "step": step,
        "eval/accuracy": accuracy,
        "eval/loss": -math.log(accuracy),
        "eval/count": 360,
    }


def game(steps: int) -> list[dict[str, Any]]:
    """Rows of a game: only the classifier learns."""
    losses = {"discriminator_loss": 1.4, "generator_loss": -0.7}
    return [
        {"step": step, **losses, "classifier_loss": 2.0 / step}
        for step in range(1, steps + 1)
    ]


def measures(step: int, distance: float = 0.5) -> dict[str, Any]:
    """A row of an evaluation of a game."""
    return {
        "step": step,
        "eval/wasserstein": distance,
        "eval/average/wasserstein": distance / 2,
        "floor/wasserstein": 0.05,
        "eval/symmetric_kl": 3.0,
        "eval/modes": 8,
        "eval/purity": 0.9,
    }


def layers(step: int, ratios: dict[str, float]) -> dict[str, Any]:
    """A row whose norms are such that eta = 0.001 gives the ratios, at rate 2."""
    return {
        "step": step,
        "layers": {
            name: {
                "weight_norm": 1000 * ratio,
                "gradient_norm": 1.0,
                "trust_ratio": ratio,
                "effective_rate": 2 * ratio,
            }
            for name, ratio in ratios.items()
        },
    }


def resnet152() -> list[str]:
    """Paths of the 467 leaves of ResNet-152: 155 convolutions and BNs, one head."""
    names = ["conv1/kernel", "bn1/scale", "bn1/bias", "fc/kernel", "fc/bias"]
    for stage, blocks in enumerate((3, 8, 36, 3), start=1):
        for block in range(blocks):
            units = [1, 2, 3, 4] if block == 0 else [1, 2, 3]
            for unit in units:
                path = f"stage{stage}_{block}"
                names += [
                    f"{path}/conv{unit}/kernel",
                    f"{path}/bn{unit}/scale",
                    f"{path}/bn{unit}/bias",
                ]
    return names


def mistakes(count: int, *, size: int = 8, channels: int = 1, names=()) -> Mistakes:
    number = np.arange(count, dtype=np.int32)
    ramp = np.arange(count * size * size * channels) % 256
    return Mistakes(
        image=ramp.astype(np.uint8).reshape(count, size, size, channels),
        label=number % 10,
        prediction=(number + 1) % 10,
        confidence=np.full(count, 0.75, np.float32),
        index=100 + number,
        class_names=names,
    )


def drawn(figure: Any) -> bytes:
    """Return a figure as a PNG file, which needs no display."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


class Page(HTMLParser):
    """What a browser would find in a page; every element must be closed in order."""

    def __init__(self, source: str):
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    @property
    def text(self) -> str:
        return "\n".join(self.texts)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if data.strip() and self._open[-1:] != ["style"]:
            self.texts.append(data.strip())
