"""The same network and the same training step in PyTorch, to be timed beside ours.

Import this module only where torch can be imported. Shapes, parameter counts, padding,
normalisation and augmentation are those of `lars_jax`; the optimizer is
torch's SGD with momentum and weight decay.
"""

from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

PADDING = 4
"""Zero pixels on each side of an image before the random crop."""

VARIANTS = {
    "cpu": ("eager", "eager channels_last", "compiled channels_last"),
    "cuda": ("eager channels_last", "compiled channels_last", "graphs channels_last"),
}
"""Ways to run the step on each device; the benchmark keeps the fastest."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut that pads what it lacks: option A."""

    def __init__(self, channels: int, features: int, stride: int):
        super().__init__()
        self.stride, self.missing = stride, features - channels
        self.conv1 = nn.Conv2d(channels, features, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(features)

    def forward(self, x: Any) -> Any:
        """Return features [B, features, H / stride, W / stride]."""
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        ends = (self.missing // 2, self.missing - self.missing // 2)
        x = x[:, :, :: self.stride, :: self.stride]
        return F.relu(y + F.pad(x, (0, 0, 0, 0, *ends)))


class ResNet20(nn.Module):
    """ResNet-20 for images of 32 pixels."""

    def __init__(self, classes: int):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        blocks, channels = [], 16
        for features in (16, 32, 64):
            for _ in range(3):
                blocks.append(BasicBlock(channels, features, features // channels))
                channels = features
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, classes)

    def forward(self, images: Any) -> Any:
        """Return logits [B, classes] of images [B, 3, H, W]."""
        x = self.blocks(F.relu(self.norm(self.stem(images))))
        return self.fc(x.mean(dim=(2, 3)))


class Training:
    """The training loop in one of `VARIANTS`, with images and labels on a device.

    Args:
        arrays: images uint8 [N, H, W, C] and labels [N].
        statistics: mean and standard deviation of each channel.
        batch: examples per step.
        classes: number of logits.
        dtype: `float32`, or `bfloat16` for products under autocast.
        variant: one of `VARIANTS`.
    """

    def __init__(
        self,
        arrays: tuple[np.ndarray, np.ndarray],
        statistics: tuple[tuple[float, ...], tuple[float, ...]],
        *,
        batch: int,
        classes: int,
        dtype: str,
        variant: str,
    ):
        self.device, self.batch = device(), batch
        image = torch.tensor(arrays[0], device=self.device)
        self.image = F.pad(image, (0, 0, PADDING, PADDING, PADDING, PADDING))
        self.label = torch.tensor(arrays[1], device=self.device, dtype=torch.int64)
        self.mean, self.std = (
            torch.tensor(numbers, device=self.device) for numbers in statistics
        )
        self.last = "channels_last" in variant
        self.autocast = dtype == "bfloat16"
        self.network = ResNet20(classes).to(self.device)
        if self.last:
            self.network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=0.1,
            momentum=0.9,
            weight_decay=1e-4,
            fused=True,
        )
        self.forward = self.loss
        if "compiled" in variant:
            self.forward = torch.compile(self.loss)
        elif "graphs" in variant:
            self.forward = torch.compile(self.loss, mode="reduce-overhead")
        self.order = iter(())

    @property
    def parameters(self) -> int:
        """Number of trained parameters."""
        return sum(leaf.numel() for leaf in self.network.parameters())

    def loss(self, images: Any, labels: Any) -> Any:
        """Return the mean cross-entropy of a batch."""
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.autocast):
            return F.cross_entropy(self.network(images).float(), labels)

    def run(self, steps: int) -> None:
        """Train for some steps, and return once the device is done."""
        for _ in range(steps):
            images, labels = self._next_batch()
            if not self.last:
                images = images.contiguous()
            loss = self.forward(images, labels)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
        if self.device == "cuda":
            torch.cuda.synchronize()

    def _next_batch(self) -> tuple[Any, Any]:
        """Return cropped, mirrored, normalised images [B, C, H, W], and labels."""
        index = next(self.order, None)
        if index is None:
            count = len(self.label)
            order = torch.randperm(count, device=self.device)
            self.order = iter(order[: count - count % self.batch].split(self.batch))
            index = next(self.order)
        size = self.image.shape[1] - 2 * PADDING
        shape = (2, self.batch, 1)
        offset = torch.randint(2 * PADDING + 1, shape, device=self.device)
        mirror = torch.rand(self.batch, 1, device=self.device) < 0.5
        pixel = torch.arange(size, device=self.device)[None]
        rows = offset[0] + pixel
        columns = offset[1] + torch.where(mirror, size - 1 - pixel, pixel)
        crop = self.image[index[:, None, None], rows[:, :, None], columns[:, None, :]]
        images = (crop.float() / 255.0 - self.mean) / self.std
        return images.permute(0, 3, 1, 2), self.label[index]


def allow_tensor_cores() -> None:
    """Let float32 products use TF32, as JAX does on GPUs by default."""
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True


def device() -> str:
    """Return `cuda` where torch sees one, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"
