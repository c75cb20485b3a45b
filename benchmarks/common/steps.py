"""The training step of a configuration over a mesh, with what it is given."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from experiments.lars.config import Config
from experiments.lars.program import (
    ImageFacts,
    build_train_step,
    make_network,
    make_state,
)
from lars_jax.models import Network
from lars_jax.train import DataParallel, TrainState, data_mesh


@dataclass(frozen=True)
class MeshStep:
    """A training step, to be lowered from shapes or run on noise.

    Attributes:
        config: whose step it is.
        facts: classes and channels of the images.
        parallel: the mesh and the back-end.
        step: `(state, batch, shared) -> (state, metrics)` over the mesh.
        network: the network, as evaluation applies it.
    """

    config: Config
    facts: ImageFacts
    parallel: DataParallel
    step: Any
    network: Network

    @classmethod
    def create(cls, config: Config, facts: ImageFacts) -> "MeshStep":
        """Return the step of a configuration over the devices that it names."""
        parallel = DataParallel(data_mesh(config.devices), config.backend)
        step = build_train_step(config, facts, parallel)
        return cls(config, facts, parallel, step, make_network(config, facts))

    def initial_state(self) -> TrainState:
        """Return a state at step 0, on one device."""
        # Neither speed nor size of a step depends on the length of the schedule.
        return make_state(
            self.config,
            self.facts,
            self.network,
            jax.random.key(0),
            total_steps=1000,
            steps_per_epoch=100.0,
        )

    def noise(self) -> dict[str, np.ndarray]:
        """Return a batch of random images, on the host."""
        random, count = np.random.default_rng(0), self.config.global_batch
        size = self.config.data.image_size
        return {
            "image": random.integers(
                0, 256, (count, size, size, self.facts.channels), np.uint8
            ),
            "label": random.integers(0, self.facts.num_classes, count, np.int32),
            "index": np.arange(count, dtype=np.int32),
            "epoch": np.zeros(count, np.int32),
        }

    def compiled_text(self) -> str:
        """Return the compiled program; no parameter is allocated."""
        batch = self.parallel.shard_batch(self.noise())
        shared = {"key": jax.eval_shape(lambda: jax.random.key(0))}
        state = jax.eval_shape(self.initial_state)
        return self.step.lower(state, batch, shared).compile().as_text()
