"""Small data sets on disk."""

from pathlib import Path

import numpy as np
from PIL import Image

BLOCKS = {
    "train": [f"a{k}" for k in range(6)],
    "test": [f"b{k}" for k in range(4)],
}
"""Pictures of `write_blocks`, by split."""

OBJECT = """<object><name>{name}</name>{more}<bndbox><xmin>{box[0]}</xmin>
<ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"""


def write_picture(path: Path, width: int = 40, height: int = 30) -> Path:
    """Write a picture of two colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (width, height), (200, 30, 30))
    image.paste((20, 20, 220), (width // 4, height // 4, width // 2, height // 2))
    image.save(path)
    return path


def xml_object(name: str, box: tuple, more: str = "") -> str:
    return OBJECT.format(name=name, box=box, more=more)


def write_voc(root: Path, objects: dict[str, list[str]], split: str = "train") -> Path:
    """Write pictures with their objects, and a list of them."""
    for name, some in objects.items():
        write_picture(root / "JPEGImages" / f"{name}.jpg")
        annotation(root, name, "".join(some))
    path = root / "ImageSets" / "Main" / f"{split}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in objects))
    return root


def annotation(root: Path, name: str, objects: str, width=40, height=30) -> Path:
    path = root / "Annotations" / f"{name}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    path.write_text(f"<annotation>{size}{objects}</annotation>")
    return path


def write_blocks(root: Path) -> Path:
    """Write pictures with one bright object each, of one class."""
    rng = np.random.default_rng(0)
    for split, names in BLOCKS.items():
        write_voc(root, {name: [] for name in names}, split)
        for name in names:
            pixels = rng.integers(0, 80, (60, 80, 3), np.uint8)
            x, y = rng.integers(4, 40, 2).tolist()
            y = min(y, 34)
            pixels[y : y + 24, x : x + 30] = (220, 200, 40)
            Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.jpg")
            box = (x + 1, y + 1, x + 30, y + 24)
            annotation(root, name, xml_object("block", box), 80, 60)
    return root
