"""The paper's sizes: types check and steps compile, though nothing of them is run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.transitive.batches import PairData
from experiments.transitive.check import check
from experiments.transitive.context_program import ContextProgram
from experiments.transitive.pairs import INTRA, TRANSITIVE
from experiments.transitive.presets import PRESETS
from experiments.transitive.stages import make_stages
from experiments.transitive.triplet import TripletProgram
from lars_jax.compiler.account import account
from lars_jax.data import ArraySource
from lars_jax.train.config import replace_fields

pytestmark = pytest.mark.slow

PAPER = check(replace_fields(PRESETS["paper"].config, devices=1))
LARS = check(replace_fields(PRESETS["paper_lars"].config, devices=1))


def photographs(count, side):
    image = np.zeros((count, side, side, 3), np.uint8)
    return ArraySource("grey", ("crop",), image, np.zeros(count, np.int32))


def abstract(batch):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)


def test_sizes_are_the_papers():
    triplet, clusters = PAPER.triplet, PAPER.clusters
    assert (clusters.parents, clusters.least_members) == (5000, 100)
    assert (clusters.neighbours, clusters.clique) == (10, 4)
    assert (triplet.steps, triplet.global_batch) == (200_000, 100)
    assert (triplet.margin, triplet.learning_rate) == (0.5, 0.001)
    assert PAPER.tracking.track_frames == 30
    assert PAPER.mining.window == 227
    names = [stage.name for stage in make_stages(PAPER)]
    assert names == [
        "videos",
        "mine",
        "track",
        "frames",
        "context",
        "features",
        "graph",
        "triplet",
        "evaluate",
    ]


@pytest.mark.parametrize("config", [PAPER, LARS], ids=["paper", "paper_lars"])
def test_a_step_of_the_triplet_network_compiles_at_full_size(config):
    images = config.triplet.global_batch
    nodes = np.array([[0, 1], [2, 3]])
    data = PairData(
        photographs(4, 96),
        np.arange(4),
        nodes,
        np.array([INTRA, TRANSITIVE], np.uint8),
        np.array([0, 0, 1, 1], np.int32),
    )
    program = TripletProgram(config, data)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(program.like().params))
    assert parameters == 37_788_480
    batch = {
        "node": jax.ShapeDtypeStruct((images // 2, 2), jnp.int32),
        "place": jax.ShapeDtypeStruct((images // 2, 2), jnp.int32),
        "parent": jax.ShapeDtypeStruct((images // 2,), jnp.int32),
    }
    compiled = program.train_step.compile(program.like(), batch, program.shared)
    # Forward and backward of images of 2.84 GMAC.
    assert 1.5e10 < account(compiled).flops / images < 1.9e10


def test_a_step_of_the_context_network_compiles_at_full_size():
    program = ContextProgram(PAPER, {"train": photographs(8, 400)})
    side, batch = PAPER.context.patch, PAPER.context.context_batch
    shapes = {
        "pair": jax.ShapeDtypeStruct((batch, 2, side, side, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((batch,), jnp.int32),
        "number": jax.ShapeDtypeStruct((batch,), jnp.int32),
    }
    step, shared = program.train_step, program.shared
    compiled = step.compile(program.like(), shapes, shared)
    # Two towers of 2.82 GMAC and the layers after them, forward and backward.
    assert account(compiled).flops > 6 * batch * 2 * 2.8e9 * 0.9
