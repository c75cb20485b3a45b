"""Rate and warm-up to begin with at a batch, from the points that MLPerf publishes.

The ten reference points of MLPerf Training 2.0 are ResNet-50 under LARS to 75.9 %, from
1,632 to 65,536 examples, tuned by those who submitted them (eta = 0.001). Two numbers
say most of them:

    gamma(B)  = min(7.4 sqrt(B / 1632), 22)
    warmup(B) = max(2, B / 2048) epochs

The root goes through the smallest point; from 32,768 on the points are 19.4 to 24.7
whatever the batch, 22.1 in the mean. Their warm-up is about 625 updates there, whose
share of training grows with the batch. Nine of ten rates are within 15 % of the rule;
that of 13,056, 12.8, is 39 % below it.

They are of one network, one data set and one rule for leaves (biases and normalisation
excluded, decay 2.5e-5 to 2e-4): elsewhere they are where a search begins, not its end.
On Fashion-MNIST a small ResNet does best at four times the rule's rate up to 2,048, and
at 1.4 to 1.5 times from 8,192 on. The rates tried there are a factor of three apart and
grow with the root of the batch themselves: what was found is one such step down beyond
2,048, and nothing finer.
"""

import math

from lars_jax.optim.numbers import require_number

SMALLEST = 1632
"""Batch of the smallest point."""

ITS_RATE = 7.4
"""Rate of the smallest point."""

HIGHEST = 22.0
"""Rate from about 14,400 examples on."""

UPDATES = 625
"""Of warm-up at large batches; 2,048 examples for each epoch of ImageNet's."""

IMAGES = 1_281_167
"""Of an epoch of ImageNet, which the points are of."""

LEAST_WARMUP = 2.0
"""Epochs of warm-up at small batches."""


def rate_for_batch(batch: int, *, trust_coefficient: float = 0.001) -> float:
    """Return a learning rate of LARS to begin with at a batch.

    gamma = min(7.4 sqrt(B / 1632), 22) * 0.001 / eta

    A step moves a layer by gamma * eta of its norm, so that the rate goes with 1 / eta.

    Args:
        batch: B, examples of an update.
        trust_coefficient: eta.

    Raises:
        ValueError: a batch or a coefficient that is not above zero.

    Reference:
        MLPerf Training 2.0, `rcps_resnet.json` of https://github.com/mlcommons/logging
        (nine of ten points are within 15 %).

    >>> [round(rate_for_batch(batch), 1) for batch in (256, 1632, 8192, 65536)]
    [2.9, 7.4, 16.6, 22.0]
    """
    require_number("batch", batch, positive=True)
    require_number("trust_coefficient", trust_coefficient, positive=True)
    rate = min(ITS_RATE * math.sqrt(batch / SMALLEST), HIGHEST)
    return rate * 0.001 / trust_coefficient


def warmup_for_batch(batch: int, examples: int = IMAGES) -> float:
    """Return epochs of linear warm-up to begin with at a batch.

    max(2, 625 B / N): 625 updates, and 2 epochs at the least.

    The 625 are of runs of 1,600 updates or more, as ImageNet's are. Where those of a
    smaller data set are shorter the rule says nothing: it asks for 170.7 epochs at
    16,384 of 60,000 images.

    Args:
        batch: B, examples of an update.
        examples: N, of an epoch; ImageNet's unless given.

    Raises:
        ValueError: a batch or a number of examples that is not above zero.

    Reference:
        As of `rate_for_batch`: 16 epochs at 32,768, 24 at 49,152, 31 at 65,536.

    >>> [round(warmup_for_batch(batch)) for batch in (1632, 32768, 65536)]
    [2, 16, 32]
    >>> round(warmup_for_batch(16_384, 60_000), 1)
    170.7
    """
    require_number("batch", batch, positive=True)
    require_number("examples", examples, positive=True)
    return max(LEAST_WARMUP, UPDATES * batch / examples)
