"""Runs for one machine: digits, which need no download, Fashion-MNIST and CIFAR-10.

No LARS result on these data is published, so there is nothing to reproduce but the
question of the paper: does the accuracy hold when the batch grows and the epochs do
not? Biases and batch normalisation are excluded, as in MLPerf. The rates of the digits
were chosen on 300 held-out training digits; those of LARS for ResNet-20 and AlexNet-BN
on CIFAR-10 are the rule's for their batch, `rate_for_batch`.

`digits`, `digits_nesterov` and `digits_lamb` were tuned alike: the five rates that
`compare` tries at a batch of 256, a factor of two apart, one seed, the highest accuracy
on the held-out digits and of equals the lowest loss. For LARS the recorded comparison
has since found 16, with 8 next to it. Momentum and decay are those of `digits` for all
three.
"""

from experiments.lars.config import Config
from lars_jax.optim import rate_for_batch
from lars_jax.runs import Preset
from lars_jax.train.config import replace_fields

OWN = "this repository"
HE = "https://arxiv.org/abs/1512.03385"
UNPUBLISHED = "no published result"

LARS = replace_fields(Config(), optimizer="lars", excluded="bias_and_norm")
DIGITS = replace_fields(
    LARS, network="resnet8", weight_decay=5e-4, warmup_epochs=2.0, epochs=40.0
)
CIFAR10 = replace_fields(
    LARS,
    dataset="cifar10",
    image_size=32,
    crop_padding=4,
    flip=True,
    warmup_epochs=5.0,
    epochs=100.0,
    log_every=10,
)
RESNET20 = replace_fields(CIFAR10, network="resnet20", weight_decay=1e-4)
ALEXNET_BN = replace_fields(CIFAR10, network="alexnet_bn", weight_decay=5e-4)
NARROW = replace_fields(
    CIFAR10,
    network="resnet8",
    width=0.5,
    stem_stride=2,
    bn_span=128,
    weight_decay=5e-4,
    warmup_epochs=1.7,
    # 104 updates of 8,192 examples.
    epochs=17.0,
)
FASHION_MNIST = replace_fields(
    LARS,
    dataset="fashion_mnist",
    image_size=28,
    crop_padding=2,
    flip=True,
    network="resnet8",
    width=0.5,
    stem_stride=4,
    bn_span=128,
    weight_decay=5e-4,
    warmup_epochs=2.5,
    # 101 updates of 16,384 examples.
    epochs=27.5,
    log_every=10,
)


def _digits(
    name: str, question: str, batch: int, rate: float, note: str = "", **changes: object
) -> Preset[Config]:
    return Preset(
        name=name,
        config=replace_fields(
            DIGITS, global_batch=batch, learning_rate=rate, **changes
        ),
        reproduces=question,
        expected=UNPUBLISHED,
        source=OWN,
        status="run here",
        note=note,
    )


def _cifar10(network: str, base: Config, batch: int) -> Preset[Config]:
    rate = round(rate_for_batch(batch), 1)
    return Preset(
        name=f"cifar10_{network}_{batch}",
        config=replace_fields(base, global_batch=batch, learning_rate=rate),
        reproduces="Section 5's question on CIFAR-10: large batch, same epochs",
        expected=UNPUBLISHED,
        source=OWN,
    )


def _fashion_mnist(
    name: str, question: str, batch: int, rate: float, **changes: object
) -> Preset[Config]:
    config = replace_fields(FASHION_MNIST, global_batch=batch, learning_rate=rate)
    return Preset(
        name=f"fashion_mnist_{name}",
        config=replace_fields(config, eval_every=1.25, **changes),
        reproduces=f"{question}, on Fashion-MNIST",
        expected=UNPUBLISHED,
        source=OWN,
        status="run here",
        note="the rate is the best of `compare`",
    )


GAP = "Figure 1: test loss less training loss"
LOCAL_RATES = "Figure 2: local rates by layer"
LONGER = "Table 5: the largest batch for longer"

PAPER_FIGURES: tuple[Preset, ...] = (
    _fashion_mnist("512_sgd", GAP, 512, 1.273, optimizer="sgd"),
    _fashion_mnist("8k_sgd", GAP, 8192, 0.5657, optimizer="sgd"),
    _fashion_mnist("128_lars", LOCAL_RATES, 128, 8.485),
    _fashion_mnist("512_lars", LOCAL_RATES, 512, 16.97),
    _fashion_mnist("8k_lars", LOCAL_RATES, 8192, 22.63),
    _fashion_mnist("16k_lars", LONGER, 16384, 32.0),
    *(
        _fashion_mnist(f"16k_lars_{epochs:.0f}ep", LONGER, 16384, 32.0, epochs=epochs)
        # As the paper has 100 epochs, 125 and so on to 200.
        for epochs in (34.4, 41.3, 48.1, 55.0)
    ),
)

CONTROL = Preset(
    name="cifar10_resnet20_sgd_128",
    config=replace_fields(
        RESNET20,
        optimizer="sgd",
        global_batch=128,
        learning_rate=0.1,
        warmup_epochs=0.0,
        excluded="none",
        steps=64_000,
    ),
    reproduces="He et al. (2016), Table 6, ResNet-20",
    expected="91.25 % top-1",
    source=HE,
    note="the decay here is polynomial; there the rate falls tenfold at 32K and 48K",
)

LOCAL: tuple[Preset, ...] = (
    _digits(
        "digits",
        "the quickstart: LARS, batch 256",
        256,
        8.0,
        "best of 1, 2, 4, 8 and 16",
    ),
    _digits("digits_1024", "four times the batch of `digits`, same epochs", 1024, 24.0),
    _digits("digits_sgd", "`digits` without LARS", 256, 0.1, optimizer="sgd"),
    _digits(
        "digits_nesterov",
        "`digits` with Nesterov momentum in place of LARS, tuned alike",
        256,
        0.4,
        "best of 0.05, 0.1, 0.2, 0.4 and 0.8",
        optimizer="nesterov",
    ),
    _digits(
        "digits_lamb",
        "`digits` with LAMB in place of LARS, tuned alike",
        256,
        0.03,
        "best of 0.0075, 0.015, 0.03, 0.06 and 0.12",
        optimizer="lamb",
    ),
    _digits(
        "smoke",
        "nothing: whether a run starts, evaluates and saves",
        64,
        1.0,
        warmup_epochs=0.0,
        steps=4,
    ),
    Preset(
        name="fashion_mnist",
        config=replace_fields(FASHION_MNIST, global_batch=128, learning_rate=8.485281),
        reproduces="what a large batch loses, and what LARS gives back: `compare` it",
        expected=UNPUBLISHED,
        source=OWN,
        status="run here",
        note="half the width, a quarter of the sides; the best rate of `compare`",
    ),
    *PAPER_FIGURES,
    Preset(
        name="cifar10_resnet8",
        config=replace_fields(NARROW, global_batch=128, learning_rate=8.485281),
        reproduces="the question of `fashion_mnist` on photographs: `compare` it",
        expected=UNPUBLISHED,
        source=OWN,
        status="run here",
        note="half the width, half of the sides: four minutes of a core a run; the "
        "best rate of `compare`",
    ),
    _cifar10("resnet20", RESNET20, 128),
    _cifar10("resnet20", RESNET20, 512),
    _cifar10("resnet20", RESNET20, 4096),
    CONTROL,
    _cifar10("alexnet_bn", ALEXNET_BN, 512),
    _cifar10("alexnet_bn", ALEXNET_BN, 4096),
)
"""The presets that need no cluster, smallest first."""
