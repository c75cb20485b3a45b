"""Games in the plane: Section 5.1 of the paper, and harder ones.

The paper gives networks, beta and the number of steps; batch sizes, the weight of the
classifier and the losses are those of the authors' programs (`tund/male`: 512 real
samples and 128 of each generator). All methods share the networks and see 512 real
samples a step; those with one generator make 512 of their own.

Unrolled GAN has the rates and the loss of Metz et al. (2017): the generator learns ten
times as fast as the discriminator, from the game's own (saturating) loss.

Games on other data take the rates of `ring_tuned` and 10,000 steps.
"""

from experiments.mgan.config import Config
from lars_jax.runs import Preset
from lars_jax.train.config import replace_fields

PAPER = "https://arxiv.org/abs/1708.02556"
OWN = "this repository"

RING = Config()
ALONE = replace_fields(RING, generators=1, fakes=512)
TUNED = replace_fields(RING, discriminator_rate=1e-3, decay_from=0.5)
SHORT = replace_fields(TUNED, steps=10_000)
GRID = replace_fields(SHORT, dataset="grid", modes=25, extent=2.0, variance=0.01)


def _figure(name: str, config: Config, expected: str, note: str = "") -> Preset[Config]:
    return Preset(
        name=name,
        config=config,
        reproduces="Section 5.1, Figure 2",
        expected=expected,
        source=PAPER,
        status="run here",
        note=note,
    )


def _question(
    name: str, config: Config, question: str, expected: str, note: str = ""
) -> Preset[Config]:
    return Preset(
        name=name,
        config=config,
        reproduces=question,
        expected=expected,
        source=OWN,
        status="run here",
        note=note,
    )


PLANE = (
    _figure(
        "ring",
        RING,
        "all 8 modes by 15,000 steps, Wasserstein distance almost zero",
        "the classifier learns with weight 1, beta acts on generators alone",
    ),
    _figure("ring_gan", ALONE, "one mode at a time"),
    _figure(
        "ring_unrolled",
        replace_fields(
            ALONE,
            game="unrolled",
            generator_rate=1e-3,
            discriminator_rate=1e-4,
            generator_loss="saturating",
        ),
        "all 8 modes, concentrated on several points of each",
        "networks and batch as for the others; rates and loss of Metz et al.",
    ),
    _figure(
        "ring_d2gan",
        replace_fields(ALONE, game="d2gan"),
        "all 8 modes, with points scattered between them",
        "both weights 1, as in the authors' program",
    ),
    _question(
        "ring_tuned",
        TUNED,
        "how near MGAN comes with other rates and averaged generators",
        "a Wasserstein distance of 0.10 or less",
        "the discriminator learns five times as fast; rates fall in the second half",
    ),
    _question(
        "ring_gan_tuned",
        replace_fields(ALONE, discriminator_rate=1e-3, decay_from=0.5),
        "a single generator at the rates of `ring_tuned`",
        "no published result",
    ),
    _question(
        "ring_d2gan_tuned",
        replace_fields(ALONE, game="d2gan", discriminator_rate=1e-3, decay_from=0.5),
        "D2GAN at the rates of `ring_tuned`",
        "no published result",
    ),
    _question(
        "ring_no_diversity",
        replace_fields(RING, diversity=0.0),
        "Equation 2 with beta = 0",
        "collapses as a single generator does",
    ),
    _question(
        "ring_literal",
        replace_fields(RING, classifier_weight=0.125),
        "Equation 2 read literally: beta weighs the classifier's learning, too",
        "the same optimum, later",
    ),
    _question(
        "ring_four_generators",
        replace_fields(SHORT, generators=4, fakes=256),
        "fewer generators than modes",
        "no published result",
    ),
    _question(
        "ring_sixteen_generators",
        replace_fields(SHORT, generators=16, fakes=64),
        "more generators than modes",
        "no published result",
    ),
    _question(
        "ring_16",
        replace_fields(SHORT, modes=16, generators=16, fakes=64, variance=0.005),
        "sixteen modes on the ring",
        "no published result",
    ),
    _question(
        "grid_25",
        replace_fields(GRID, generators=25, fakes=64),
        "a grid of 25 Gaussians",
        "no published result",
    ),
    _question(
        "grid_25_gan",
        replace_fields(GRID, generators=1, fakes=512),
        "a grid of 25 Gaussians, one generator",
        "no published result",
    ),
    _question(
        "grid_25_ten_generators",
        replace_fields(GRID, generators=10, fakes=128),
        "a grid of 25 Gaussians, fewer generators than modes",
        "no published result",
    ),
    _question(
        "ring_rising",
        replace_fields(SHORT, shares="rising"),
        "modes of unequal shares, generators of equal weights",
        "no published result",
    ),
    _question(
        "ring_rising_learned",
        replace_fields(SHORT, shares="rising", mixture="learned"),
        "modes of unequal shares, learned weights",
        "no published result",
    ),
)
