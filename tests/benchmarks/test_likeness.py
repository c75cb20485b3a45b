import numpy as np
import pytest
from PIL import Image

from benchmarks.throughput.likeness import likeness


@pytest.mark.parametrize("fit", ["warp", "short_side"])
def test_files_decoded_whole_are_left_out(tmp_path, fit):
    noise = np.random.default_rng(0).integers(0, 255, (5, 7, 3)).astype(np.uint8)
    for name, sides in {"large": (109, 71), "small": (45, 40)}.items():
        Image.fromarray(noise).resize(sides).save(tmp_path / f"{name}.jpg", quality=95)
    (found,) = likeness(tmp_path, 42, fit)
    assert 40 < found < 80
