"""The multi-task baseline: ranking and context prediction on the same convolutions.

The paper's Table 2 has it beside transitive pairs; it says that both losses share the
convolutions and the batch, and no more. Choices where it leaves one:
  * The convolutions have no batch normalisation, as those of the ranking have none, and
    so neither have the layers of context prediction.
  * A batch has as many pairs of patches as of images.
  * Patches are scaled as the convolutions see images: to a root mean square of 1 where
    these are drawn, as nothing normalises activations; to that of context prediction
    where they begin with its convolutions.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from experiments.transitive.config import ContextConfig, ModelConfig
from experiments.transitive.context_network import (
    context_losses,
    context_network,
    noisy_pairs,
)
from experiments.transitive.networks import RMS
from lars_jax.models import Network


@dataclass(frozen=True)
class ContextHeads:
    """The layers of context prediction that stand on convolutions of another network.

    Attributes:
        network: of `context_network`, whose own convolutions are left aside.
        side: of patches, in pixels.
        rms: root mean square of a patch.
    """

    network: Network
    side: int
    rms: float

    @classmethod
    def create(
        cls, model: ModelConfig, context: ContextConfig, init: str
    ) -> "ContextHeads":
        """Return the layers for convolutions that begin so, as of `TripletConfig`."""
        network = context_network(model, normalised=False)
        return cls(network, context.patch, RMS if init == "context" else 1.0)

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Return the weights of these layers by name, which no other network has."""
        shape = jax.ShapeDtypeStruct((1, 2, self.side, self.side, 3), jnp.float32)
        params, _ = self.network.init(key, shape)
        return {"context": params["tower"]["head"], "joint": params["joint"]}

    def loss(
        self, params: Any, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return the mean cross-entropy of the neighbours' places, and the accuracy.

        Args:
            params: with `trunk`, and those of `init`.
            batch: with `context/pair` uint8 [B, 2, P, P, 3], `context/number` and
                `context/label` int32 [B].
            key: what colours are dropped by.
        """
        pairs = noisy_pairs(key, batch["context/pair"], batch["context/number"])
        pairs *= self.rms / RMS
        tower = {"trunk": params["trunk"], "head": params["context"]}
        weights = {"tower": tower, "joint": params["joint"]}
        logits, _ = self.network.apply(weights, {}, pairs, train=True)
        losses, right = context_losses(logits, batch["context/label"])
        return jnp.mean(losses), jnp.mean(right.astype(jnp.float32))
