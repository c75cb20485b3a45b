"""ResNet-20 with the weights of akamaster/pytorch_resnet_cifar10 on CIFAR-10.

The weights are an npz of that project's PyTorch names, with kernels as OIHW; its README
states 91.73 % for the whole test set.
"""

import os
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lars_jax.models import resnet

EXAMPLES = 2000
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def our_path(name):
    """Return collection, layers and leaf here of a PyTorch name."""
    layers = name.split(".")
    leaf = layers.pop()
    if layers[0].startswith("layer"):
        stage, block = int(layers[0].removeprefix("layer")), int(layers[1]) + 1
        layers = [f"stage{stage}_block{block:02d}", layers[2]]
    layers[0] = {"linear": "fc"}.get(layers[0], layers[0])
    normalisation = re.fullmatch(r"bn(\d)", layers[-1])
    if normalisation is None:
        return "params", layers, {"weight": "kernel"}.get(leaf, leaf)
    layers[-1] = f"conv{normalisation[1]}_bn"
    if leaf.startswith("running_"):
        return "batch_stats", layers, leaf.removeprefix("running_")
    return "params", layers, {"weight": "scale"}.get(leaf, leaf)


def variables_from(weights):
    variables = {"params": {}, "batch_stats": {}}
    for name, value in weights.items():
        if name.endswith("num_batches_tracked"):
            continue
        collection, layers, leaf = our_path(name)
        node = variables[collection]
        for layer in layers:
            node = node.setdefault(layer, {})
        order = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[value.ndim]
        node[leaf] = jnp.asarray(value.transpose(order), jnp.float32)
    return variables["params"], {"batch_stats": variables["batch_stats"]}


@pytest.fixture
def weights():
    path = os.environ.get("LARS_JAX_CIFAR_WEIGHTS")
    if path is None:
        pytest.skip("LARS_JAX_CIFAR_WEIGHTS is unset: no published weights")
    return dict(np.load(Path(path)))


@pytest.fixture
def cifar10_test():
    if "TFDS_DATA_DIR" not in os.environ:
        pytest.skip("TFDS_DATA_DIR is unset: no CIFAR-10")
    import tensorflow_datasets as tfds

    source: Any = tfds.data_source("cifar10", split=f"test[:{EXAMPLES}]")
    examples = [source[i] for i in range(len(source))]
    images = np.stack([example["image"] for example in examples])
    return images, np.array([example["label"] for example in examples])


def test_resnet20_is_as_accurate_as_published(weights, cifar10_test):
    network = resnet(10, depth=20)
    params, model_state = variables_from(weights)
    shapes = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    expected = jax.eval_shape(lambda: network.init(jax.random.key(0), shapes))
    assert jax.tree.map(jnp.shape, (params, model_state)) == jax.tree.map(
        jnp.shape, expected
    )
    images, labels = cifar10_test
    apply = jax.jit(lambda x: network.apply(params, model_state, x)[0])
    predictions = [
        np.argmax(apply((batch / np.float32(255) - MEAN) / STD), axis=-1)
        for batch in np.split(images, len(images) // 500)
    ]
    correct = int(np.sum(np.concatenate(predictions) == labels))
    # Three standard errors of 2000 draws at the published 91.73 %.
    assert correct / len(labels) == pytest.approx(0.9173, abs=0.018)
