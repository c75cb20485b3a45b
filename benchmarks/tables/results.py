"""The README's tables: each paper and each kind of result in one row."""

import statistics
from typing import Any

from benchmarks.common.markdown import Cells, grouped
from benchmarks.common.records import read_record
from benchmarks.tables.runs import PARTS
from benchmarks.throughput.resnet50 import OURS
from benchmarks.transitive.tasks import NAME as TASKS
from experiments.lars.summary import diverged
from experiments.transitive.compare import summarise

PAPERS = """\
| paper | command | expected | ours |
|---|---|---|---|
| [LARS](https://arxiv.org/abs/1708.03888) \
| `python -m experiments.lars train alexnet_bn_8k_lars` \
| 60.1 % top-1, ImageNet at a batch of 8,192 \
| not run: no ImageNet was at hand; the digits at 1,024 give {digits:.1f} % |
| [MGAN](https://arxiv.org/abs/1708.02556) \
| `python -m experiments.mgan train ring` \
| all 8 modes, a Wasserstein distance of almost zero \
| {modes:.0f} of 8 modes in {seeds} seeds, distance {distance:.3f} |
| [Transitive Invariance](https://arxiv.org/abs/1708.02901) \
| `python -m experiments.transitive run paper` \
| 63.2 % mAP, VOC 2007 \
| not run: no 100,000 videos; on ETH-80 transitive pairs take a network \
from {untrained:.1f} % untrained to {transitive:.1f} %; \
histograms of gradients have {hog:.1f} % |"""

RESULTS = """\
| what | result | more |
|---|---|---|
| Fashion-MNIST at a batch of 16,384, 101 steps, all tuned alike \
| accuracy of LARS {lars:.1f} %, MLPerf's {mlperf_scaled:.1f} %, LAMB {lamb:.1f} %, \
Nesterov {nesterov:.1f} %, SGD {sgd:.1f} %; of LARS at 128 {small:.1f} % \
| [tables](docs/large_batches.md) |
| CIFAR-10 at a batch of 8,192, 104 steps, all tuned alike \
| accuracy of LARS {cifar10[lars]:.1f} %, Nesterov {cifar10[nesterov]:.1f} %, \
SGD {cifar10[sgd]:.1f} %; at 128, in this order, {small_cifar10[lars]:.1f} %, \
{small_cifar10[nesterov]:.1f} %, {small_cifar10[sgd]:.1f} % \
| [tables](docs/large_batches.md#cifar-10) |
| eight Gaussians, by games at the paper's rates \
| modes covered: MGAN {ring:.1f}, D2GAN {ring_d2gan:.1f}, GAN {ring_gan:.1f}; \
GAN with a faster discriminator {ring_gan_tuned:.1f} \
| [MGAN](docs/mgan.md) |
| Fast R-CNN on 154 photographs of raccoons; normals of NYUv2 by FCN-32s \
| AP50 {raccoons:.1f %} %, on untrained features {drawn:.1f %} %; \
off by {normals:.1f} degrees, the mean normal by {guess:.1f} \
| [transfer](docs/transfer.md) |
| `lars` on ResNet-50's parameters \
| {step[over_sgd]:.1f} times SGD's step, \
{step[over_optax_lars]:.2f} times that of `optax.lars`; on an H200 \
{gpu_step[over_sgd]:.1f} and {gpu_step[over_optax_lars]:.2f} times \
| [tables](docs/performance.md#a-step-of-the-optimizer) |
| ResNet-50 training step, batch 256, bfloat16, one H200, images of noise \
| {resnet50:,.0f} images a second \
| [tables](docs/performance.md#a-step-of-the-network) |
| {variants} variants against a float64 oracle \
| largest error in float32 {oracle:.0e} \
| [errors](docs/errors.md) |
| {meshes} meshes, back-ends and micro-batches against one device \
| largest difference after 20 steps {mesh:.0e} \
| [errors](docs/errors.md#meshes-and-micro-batches) |
| {faults} kills, signals and damages \
| {equal} of {runs} runs end in the same bits \
| [faults](docs/runs.md#what-faults-cost) |
| `fit` over its compiled steps alone \
| {loop:.3f} times \
| [tables](docs/performance.md#what-the-package-costs) |
| ResNet-20 training on CIFAR-10, CPU \
| {torch[resnet20_128_float32_lars][ratio]:.2f} times PyTorch's images a second \
| [tables](docs/performance.md#a-step-of-the-network) |"""

CIFAR10 = ("lars", "nesterov", "sgd")
"""Optimizers that were compared there."""

DRAWN = "raccoons, Fast R-CNN on untrained features"


def papers() -> str:
    """Return what each paper says, and what was found here."""
    ring = _finals("mgan_ring", "ring")
    shares = {
        name: [100 * share for share in found["nearest"]]
        for name, found in summarise(read_record("transitive_eth80")["runs"]).items()
    }
    return Cells().format(
        PAPERS,
        untrained=shares["untrained"],
        transitive=shares["transitive"],
        hog=shares["HOG"],
        digits=_accuracy("digits", preset="digits_1024"),
        modes=statistics.fmean(final["modes"] for final in ring),
        seeds=len(ring),
        distance=[final["wasserstein"] for final in ring],
    )


def results() -> str:
    """Return one row for each kind of result."""
    tuned = {
        name: _tested("fashion_mnist", name, 16_384)
        for name in ("lars", "mlperf_scaled", "lamb", "nesterov", "sgd")
    }
    cifar10, small_cifar10 = (
        {name: _tested("cifar10_resnet8", name, batch) for name in CIFAR10}
        for batch in (8192, 128)
    )
    games = {name: "mgan_ring" for name in ("ring", "ring_d2gan", "ring_gan")}
    modes = {
        name: statistics.fmean(final["modes"] for final in _finals(record, name))
        for name, record in (games | {"ring_gan_tuned": "mgan_harder"}).items()
    }
    tasks = {
        name: [(run["evaluations"][-1], run["baseline"]) for run in runs]
        for (name,), runs in grouped(read_record(TASKS)["runs"], "cell").items()
    }
    card = "nvidia-h200"
    gpu_step = read_record(f"optimizer_step_{card}")["networks"]["resnet50"]["programs"]
    resnet50 = read_record(f"resnet50_throughput_{card}")["runs"][0]
    variants = read_record("variant_errors")["errors"]
    mesh = read_record("mesh_errors")["rows"]
    faults = [row for part in PARTS for row in read_record(f"faults_{part}")["rows"]]
    return Cells().format(
        RESULTS,
        **tuned,
        small=_tested("fashion_mnist", "lars", 128),
        cifar10=cifar10,
        small_cifar10=small_cifar10,
        **modes,
        raccoons=[end["eval/ap50"] for end, _ in tasks["raccoons, Fast R-CNN"]],
        drawn=[end["eval/ap50"] for end, _ in tasks[DRAWN]],
        normals=[end["eval/mean"] for end, _ in tasks["normals"]],
        # Of the data alone, so the same for every seed.
        guess=tasks["normals"][0][1]["baseline/mean_normal/mean"],
        step=read_record("optimizer_step")["networks"]["resnet50"]["programs"]["lars"],
        gpu_step=gpu_step["lars"],
        resnet50=resnet50["images_per_second"][OURS]["median"],
        variants=len(variants),
        oracle=max(case["float32"] for v in variants.values() for case in v.values()),
        meshes=len(mesh),
        mesh=max(row["error"] for row in mesh),
        faults=sum(row["count"] for row in faults),
        equal=sum(row["bit_equal"] for row in faults),
        runs=sum(row["runs"] for row in faults),
        loop=statistics.median(read_record("loop_overhead")["ratios"]),
        torch=read_record("cifar10_throughput_cpu")["rows"],
    )


def _finals(record: str, preset: str) -> list[dict[str, float]]:
    runs = read_record(record)["runs"]
    return [run["final"] for run in runs if run["preset"] == preset]


def _tested(preset: str, optimizer: str, batch: int) -> list[float]:
    cell = {"optimizer": optimizer, "global_batch": batch, "phase": "test"}
    record = f"compare_{preset}"
    runs = read_record(record)["runs"]
    if any(diverged(run) for run in runs if cell.items() <= run.items()):
        raise SystemExit(f"RESULTS must tell that a run of {cell} diverged: add a word")
    return _accuracy(record, **cell)


def _accuracy(record: str, **fields: Any) -> list[float]:
    """Return the per cent of all runs that have these fields."""
    runs = read_record(record)["runs"]
    return [100 * run["accuracy"] for run in runs if fields.items() <= run.items()]
