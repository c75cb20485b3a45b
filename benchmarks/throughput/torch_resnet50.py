"""torchvision's ResNet-50 in training, to be timed beside ours.

Import this module only where torch and torchvision can be imported.
"""

from typing import Any

import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]
import torchvision  # pyright: ignore[reportMissingImports]

from benchmarks.throughput.torch_networks import allow_tensor_cores, device

VARIANTS = ("torch eager", "torch compiled", "torch CUDA graphs")
"""Ways to run the step, all with channels last."""

MODES = {"torch compiled": "default", "torch CUDA graphs": "reduce-overhead"}

SMOOTHING = 0.1


def versions() -> dict[str, str]:
    """Return the versions of torch and torchvision."""
    return {"torch": torch.__version__, "torchvision": torchvision.__version__}


class Training:
    """Steps on one batch of noise.

    Args:
        batch: examples per step.
        size: pixels of a side.
        dtype: `float32`, or `bfloat16` for products under autocast.
        variant: one of `VARIANTS`.
    """

    def __init__(self, batch: int, size: int, dtype: str, variant: str):
        allow_tensor_cores()
        self.device, self.autocast = device(), dtype == "bfloat16"
        shape = (batch, 3, size, size)
        image = torch.randint(256, shape, dtype=torch.uint8, device=self.device)
        self.image = image.to(memory_format=torch.channels_last)
        self.label = torch.randint(1000, (batch,), device=self.device)
        scale = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
        self.mean, self.std = 255 * scale.to(self.device)[:, :, None, None]
        network = torchvision.models.resnet50().to(self.device)
        self.network = network.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=0.1,
            momentum=0.9,
            weight_decay=5e-5,
            fused=True,
        )
        self.forward: Any = self.loss
        if variant in MODES:
            # Else the second size of a batch would be compiled for any size.
            mode = MODES[variant]
            self.forward = torch.compile(self.loss, mode=mode, dynamic=False)

    def loss(self, images: Any, mirror: Any) -> Any:
        """Return the mean cross-entropy of a batch of bytes."""
        images = torch.where(mirror, images.flip(3), images)
        images = (images.float() - self.mean) / self.std
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.autocast):
            logits = self.network(images)
        return F.cross_entropy(logits.float(), self.label, label_smoothing=SMOOTHING)

    def run(self, steps: int) -> None:
        """Train for some steps, and return once the device is done."""
        for _ in range(steps):
            count = len(self.label)
            mirror = torch.rand(count, 1, 1, 1, device=self.device) < 0.5
            loss = self.forward(self.image, mirror)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
        if self.device == "cuda":
            torch.cuda.synchronize()
