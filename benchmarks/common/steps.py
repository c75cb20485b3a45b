"""The training step of a configuration over a mesh, with its arguments as shapes."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.lars.config import Config
from experiments.lars.optimizer import make_optimizer
from experiments.lars.program import ImageFacts, build_train_step, make_network
from lars_jax.models import Network
from lars_jax.train import DataParallel, TrainState, data_mesh

TOTAL_STEPS = 1000
"""Length of the schedule, which neither speed nor size of a step depends on."""


@dataclass(frozen=True)
class MeshStep:
    """A compiled training step, to be lowered from shapes or run on noise.

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

    def optimizer(self) -> optax.GradientTransformation:
        """Return the optimizer."""
        return make_optimizer(
            self.config.optimizer, total_steps=TOTAL_STEPS, steps_per_epoch=100.0
        )

    def initial_state(self) -> TrainState:
        """Return a state at step 0, on one device."""
        size, channels = self.config.data.image_size, self.facts.channels
        images = jnp.zeros((2, size, size, channels))
        params, model_state = self.network.init(jax.random.key(0), images)
        return TrainState.create(params, model_state, self.optimizer())

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
        """Return the compiled program; nothing of the network's size is allocated."""
        count, size = self.config.global_batch, self.config.data.image_size
        # A mapped step takes the devices on an axis of their own.
        lead = (count,)
        if self.config.backend == "pmap":
            lead = (self.parallel.num_devices, count // self.parallel.num_devices)
        shape = jax.ShapeDtypeStruct
        batch = {
            "image": shape((*lead, size, size, self.facts.channels), jnp.uint8),
            "label": shape(lead, jnp.int32),
            "index": shape(lead, jnp.int32),
            "epoch": shape(lead, jnp.int32),
        }
        shared = {"key": jax.eval_shape(lambda: jax.random.key(0))}
        state = jax.eval_shape(self.initial_state)
        return self.step.lower(state, batch, shared).compile().as_text()
