"""What all ImageNet presets share."""

from experiments.lars.config import Config
from lars_jax.train.config import replace_fields

LARGEST_PART = 8192
"""Most of a batch that the authors' GPUs held at once; Section 5's note on 16K."""


IMAGENET = replace_fields(
    Config(),
    dataset="imagenet2012",
    test_split="validation",
    resize=256,
    crop_padding=0,
    flip=True,
    eval_every=1.0,
    checkpoint_every=5.0,
)


def with_batch(config: Config, batch: int) -> Config:
    """Return `config` for a global batch, with a span and logging to match.

    The authors emulated batches that did not fit by Caffe's `iter_size`: parts of 8192
    examples, one update after the last. Here the parts are as many as a device needs,
    and what is left of theirs is the span: a global one of a larger batch becomes one
    of 8192. Ten rows of metrics are logged in an epoch, and at least one in 50 updates
    or in a shorter run.

    >>> with_batch(replace_fields(IMAGENET, network="resnet50"), 32768).model.bn_span
    8192
    """
    span = config.model.bn_span
    if span == "global" and config.model.has_batch_norm and batch > LARGEST_PART:
        span = LARGEST_PART
    log_every = min(50, config.steps or 50, max(1, 128_000 // batch))
    return replace_fields(config, global_batch=batch, bn_span=span, log_every=log_every)


def batch_name(batch: int) -> str:
    """Return a batch as names spell it.

    >>> batch_name(512), batch_name(8192)
    ('512', '8k')
    """
    return str(batch) if batch % 1024 else f"{batch // 1024}k"
