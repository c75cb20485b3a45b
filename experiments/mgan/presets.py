"""The experiment card: every game that has a name, and what it should give.

In the plane, Section 5.1 of the paper: all methods share the networks and see 512 real
samples a step; those with one generator make 512 of their own. Games on other data, and
with four or sixteen generators, take the rates of `ring_tuned` and 10,000 steps.

Images, Section 5.2: `cifar10` is the authors' program (`qhoangdl/MGAN`) in numbers.
Sizes of STL-10 and ImageNet are those of Warde-Farley and Bengio (2017), whose protocol
the paper follows.
"""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from experiments.mgan.config import Config
from lars_jax.runs import Preset, find_preset
from lars_jax.train.config import replace_fields

PAPER = "https://arxiv.org/abs/1708.02556"

RING = Config()
ALONE = replace_fields(RING, generators=1, fakes=512)
TUNED = replace_fields(RING, discriminator_rate=1e-3, decay_from=0.5)
SHORT = replace_fields(TUNED, steps=10_000)
GRID = replace_fields(SHORT, dataset="grid", modes=25, extent=2.0, variance=0.01)

EPOCH = 781
"""Full batches of 64 among the 50,000 training images of CIFAR-10."""

CIFAR10 = replace_fields(
    Config(),
    dataset="cifar10",
    network="dcgan",
    noise="uniform",
    noise_size=100,
    noise_of_step="shared",
    generators=10,
    diversity=0.01,
    batch=64,
    fakes=12,
    steps_per_call=EPOCH,
    steps=500 * EPOCH,
    eval_every=10 * EPOCH,
    checkpoint_every=10 * EPOCH,
    average_decay=0.9999,
)
SMALL = replace_fields(
    CIFAR10,
    width=32,
    steps_per_call=50,
    steps=10_000,
    eval_every=500,
    eval_samples=5_000,
    checkpoint_every=500,
    average_decay=0.999,
)
DIGITS = replace_fields(
    SMALL,
    dataset="digits",
    image_size=8,
    stages=2,
    steps=2_000,
    eval_every=250,
    eval_samples=1_000,
    average_decay=0.99,
)

_figure = partial(
    Preset[Config],
    reproduces="Section 5.1, Figure 2",
    source=PAPER,
    status="run here",
)
_images = partial(
    Preset[Config], reproduces="Section 5.2, Inception score", source=PAPER
)
_question = partial(
    Preset[Config],
    expected="no published result",
    source="this repository",
    status="run here",
)
_first_try = partial(
    _question, status="not run", note="for a first try; no record is kept"
)

_ALL = (
    _figure(
        "ring",
        RING,
        expected="all 8 modes by 15,000 steps, Wasserstein distance almost zero",
        note="the classifier learns with weight 1, beta acts on generators alone",
    ),
    _figure("ring_gan", ALONE, expected="one mode at a time"),
    _figure(
        "ring_unrolled",
        replace_fields(
            ALONE,
            game="unrolled",
            generator_rate=1e-3,
            discriminator_rate=1e-4,
            generator_loss="saturating",
        ),
        expected="all 8 modes, concentrated on several points of each",
        note="networks and batch as for the others; rates and loss of Metz et al.",
    ),
    _figure(
        "ring_d2gan",
        replace_fields(ALONE, game="d2gan"),
        expected="all 8 modes, with points scattered between them",
        note="both weights 1, as in the authors' program",
    ),
    _question(
        "ring_tuned",
        TUNED,
        "how near MGAN comes with other rates and averaged generators",
        expected="a Wasserstein distance of 0.10 or less",
        note="the discriminator learns five times as fast; rates fall in the second "
        "half",
    ),
    _question(
        "ring_gan_tuned",
        replace_fields(TUNED, generators=1, fakes=512),
        "a single generator at the rates of `ring_tuned`",
    ),
    _question(
        "ring_d2gan_tuned",
        replace_fields(TUNED, generators=1, fakes=512, game="d2gan"),
        "D2GAN at the rates of `ring_tuned`",
    ),
    _question(
        "ring_no_diversity",
        replace_fields(RING, diversity=0.0),
        "Equation 2 with beta = 0",
        expected="collapses as a single generator does",
    ),
    _question(
        "ring_literal",
        replace_fields(RING, classifier_weight=0.125),
        "Equation 2 read literally: beta weighs the classifier's learning, too",
        expected="the same optimum, later",
    ),
    _question(
        "ring_four_generators",
        replace_fields(SHORT, generators=4, fakes=256),
        "fewer generators than modes",
    ),
    _question(
        "ring_sixteen_generators",
        replace_fields(SHORT, generators=16, fakes=64),
        "more generators than modes",
    ),
    _question(
        "ring_16",
        replace_fields(SHORT, modes=16, generators=16, fakes=64, variance=0.005),
        "sixteen modes on the ring",
    ),
    _question(
        "grid_25",
        replace_fields(GRID, generators=25, fakes=64),
        "a grid of 25 Gaussians",
    ),
    _question(
        "grid_25_gan",
        replace_fields(GRID, generators=1, fakes=512),
        "a grid of 25 Gaussians, one generator",
    ),
    _question(
        "grid_25_ten_generators",
        replace_fields(GRID, generators=10, fakes=128),
        "a grid of 25 Gaussians, fewer generators than modes",
    ),
    _question(
        "ring_rising",
        replace_fields(SHORT, shares="rising"),
        "modes of unequal shares, generators of equal weights",
    ),
    _question(
        "ring_rising_learned",
        replace_fields(SHORT, shares="rising", mixture="learned"),
        "modes of unequal shares, learned weights",
    ),
    _first_try("digits", DIGITS, "ten generators on the embedded digits"),
    _first_try(
        "digits_gan",
        replace_fields(DIGITS, generators=1, fakes=120),
        "one generator on the embedded digits",
    ),
    _question(
        "cifar10_small", SMALL, "CIFAR-10 at a quarter of the paper's width, for CPUs"
    ),
    _question(
        "cifar10_small_gan",
        replace_fields(SMALL, generators=1, fakes=120),
        "one generator, as many samples a step as ten have together",
    ),
    _images(
        "cifar10",
        CIFAR10,
        expected="Inception score 8.33 +- 0.10 claimed; 7.0 to 7.3 from the released "
        "program",
        note="images in an order that changes with the epoch; the authors' never does",
    ),
    _images(
        "cifar10_gan",
        replace_fields(CIFAR10, generators=1, fakes=120),
        expected="Inception score 7.2 by others (DCGAN)",
        note="a single generator with as many samples a step as ten have together",
    ),
    _images(
        "stl10",
        replace_fields(
            CIFAR10,
            dataset="stl10",
            split="unlabelled",
            image_size=48,
            stages=4,
            diversity=1.0,
        ),
        expected="Inception score 9.22 claimed; 8.72 by others",
        note="100,000 unlabelled images halved to 48 pixels; four stages are a guess",
    ),
    _images(
        "imagenet32",
        replace_fields(CIFAR10, dataset="imagenet_resized/32x32", diversity=0.1),
        expected="Inception score 9.32 claimed; 7.77 by others",
        note="the network of CIFAR-10 is a guess",
    ),
)

PRESETS: Mapping[str, Preset[Config]] = MappingProxyType(
    {preset.name: preset for preset in _ALL}
)
"""Every preset by name."""


def get_preset(name: str) -> Preset[Config]:
    """Return the preset called `name`.

    Raises:
        InputError: there is none; the message names the nearest ones.

    >>> get_preset("cifar10").config.rules.generators
    10
    """
    return find_preset(name, PRESETS)
