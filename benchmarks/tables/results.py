"""The README's tables: each paper and each kind of result in one row."""

import statistics
from typing import Any

from benchmarks.common.records import mean_sd, read_record
from benchmarks.tables.faults import PARTS
from benchmarks.tables.markdown import lines
from experiments.lars.presets import get_preset

LARGEST = "alexnet_bn_8k_lars"
"""The row of the LARS paper's tables that stands for all of them."""

TUNED = {"phase": "test", "global_batch": 1024}
"""Runs of the comparison at the chosen rates and the largest batch."""

GAMES = {
    "MGAN": ("mgan_ring", "ring"),
    "D2GAN": ("mgan_ring", "ring_d2gan"),
    "GAN": ("mgan_ring", "ring_gan"),
    "GAN with a faster discriminator": ("mgan_harder", "ring_gan_tuned"),
}
"""Record and preset of each game on eight Gaussians."""


def papers() -> str:
    """Return what each paper says, and what was found here."""
    ring = _finals("mgan_ring", "ring")
    modes, _ = mean_sd([final["modes"] for final in ring])
    distance = _mean([final["wasserstein"] for final in ring], 3)
    digits = _mean(_accuracies("digits", preset="digits_1024"), 1)
    rows = [
        [
            "[LARS](https://arxiv.org/abs/1708.03888)",
            f"`python -m experiments.lars train {LARGEST}`",
            f"{get_preset(LARGEST).expected}, ImageNet at a batch of 8,192",
            "not run: no ImageNet, no GPU was at hand; "
            f"the digits at 1,024 give {digits} %",
        ],
        [
            "[MGAN](https://arxiv.org/abs/1708.02556)",
            "`python -m experiments.mgan train ring`",
            "all 8 modes, a Wasserstein distance of almost zero",
            f"{modes:.0f} of 8 modes in {len(ring)} seeds, distance {distance}",
        ],
        [
            "[Transitive Invariance](https://arxiv.org/abs/1708.02901)",
            "to be built",
            "63.2 % mAP, VOC 2007",
            "nothing yet",
        ],
    ]
    return lines(["paper", "command", "expected", "ours"], rows)


def results() -> str:
    """Return one row for each kind of result."""
    tuned = {
        name: _mean(_accuracies("compare_digits", optimizer=name, **TUNED), 1)
        for name in ("lars", "nesterov", "lamb")
    }
    modes = {
        name: f"{mean_sd([final['modes'] for final in _finals(record, preset)])[0]:.1f}"
        for name, (record, preset) in GAMES.items()
    }
    step = read_record("optimizer_step")["networks"]["resnet50"]["programs"]["lars"]
    variants = read_record("variant_errors")["errors"]
    worst = max(case["float32"] for own in variants.values() for case in own.values())
    mesh = read_record("mesh_errors")["rows"]
    faults = [row for part in PARTS for row in read_record(f"faults_{part}")["rows"]]
    loop = statistics.median(read_record("loop_overhead")["ratios"])
    images = read_record("cifar10_throughput_cpu")["rows"]["resnet20_128_float32_lars"]
    performance, errors = "docs/performance.md", "docs/errors.md"
    rows = [
        [
            "digits at a batch of 1,024, all tuned alike",
            f"accuracy of LARS {tuned['lars']} %, Nesterov {tuned['nesterov']} %, "
            f"LAMB {tuned['lamb']} %",
            f"[tables]({performance}#digits)",
        ],
        [
            "eight Gaussians, by games at the paper's rates",
            "modes covered: " + ", ".join(f"{n} {count}" for n, count in modes.items()),
            "[MGAN](docs/mgan.md)",
        ],
        [
            "`lars` on ResNet-50's parameters, CPU",
            f"{step['over_sgd']['median']:.1f} times SGD's step, "
            f"{step['over_optax_lars']['median']:.2f} times that of `optax.lars`",
            f"[tables]({performance}#a-step-of-the-optimizer)",
        ],
        [
            f"{len(variants)} variants against a float64 oracle",
            f"largest error in float32 {worst:.0e}",
            f"[errors]({errors})",
        ],
        [
            f"{len(mesh)} meshes, back-ends and micro-batches against one device",
            f"largest difference after 20 steps {max(r['error'] for r in mesh):.0e}",
            f"[errors]({errors}#meshes-and-micro-batches)",
        ],
        [
            f"{sum(row['count'] for row in faults)} kills, signals and damages",
            f"{sum(row['bit_equal'] for row in faults)} of "
            f"{sum(row['runs'] for row in faults)} runs end in the same bits",
            "[faults](docs/runs.md#what-faults-cost)",
        ],
        [
            "`fit` over its compiled steps alone",
            f"{loop:.3f} times",
            f"[tables]({performance}#what-the-package-costs)",
        ],
        [
            "ResNet-20 training on CIFAR-10, CPU",
            f"{images['ratio']['median']:.2f} times PyTorch's images a second",
            f"[tables]({performance}#a-step-of-the-network)",
        ],
    ]
    return lines(["what", "result", "more"], rows)


def _finals(record: str, preset: str) -> list[dict[str, float]]:
    runs = read_record(record)["runs"]
    return [run["final"] for run in runs if run["preset"] == preset]


def _accuracies(record: str, **fields: Any) -> list[float]:
    return [
        100 * run["accuracy"]
        for run in read_record(record)["runs"]
        if all(run[name] == value for name, value in fields.items())
    ]


def _mean(values: list[float], digits: int) -> str:
    mean, sd = mean_sd(values)
    return f"{mean:.{digits}f} ± {sd:.{digits}f}"
