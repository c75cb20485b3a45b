"""Every preset of detectors at its full size, typed by what it computes."""

import functools

import jax
import pytest

from experiments.transitive.detection.ahead import assumed_classes, batch_shapes
from experiments.transitive.detection.network import Detector
from experiments.transitive.detection.presets import PRESETS
from experiments.transitive.detection.program import drawn_state, train_step

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", PRESETS)
def test_full_size_step_keeps_every_shape_of_the_state(name):
    config = PRESETS[name].config
    detector = Detector(config, assumed_classes(config))
    state = jax.eval_shape(functools.partial(drawn_state, detector))
    shared = {"key": jax.eval_shape(lambda: jax.random.key(0))}
    step = functools.partial(train_step, detector)
    after, metrics = jax.eval_shape(step, state, batch_shapes(config), shared)
    assert after == state
    assert metrics["loss"].shape == ()


def test_fast_r_cnn_of_voc_has_the_parameters_of_vgg16():
    config = PRESETS["voc07_fast"].config
    shapes = jax.eval_shape(Detector(config, 20).init, jax.random.key(0))
    sizes = {
        name: sum(leaf.size for leaf in jax.tree.leaves(part))
        for name, part in shapes.items()
    }
    # 25088 x 4096 and 4096 x 4096 with biases; 21 classes and their boxes.
    assert sizes["trunk"] == 14_714_688
    assert sizes["head"] == 25_088 * 4096 + 4096 + 4096**2 + 4096
    assert sizes["class"] == 4097 * 21
    assert sizes["box"] == 4097 * 84
