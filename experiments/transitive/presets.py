"""Configurations by name."""

from experiments.transitive.config import Config
from lars_jax.runs import Preset
from lars_jax.train.config import replace_fields

DEMO = replace_fields(
    Config(),
    clips=24,
    clip_frames=90,
    stride=6,
    frame_height=240,
    frame_width=320,
    window=120,
    least_moving=0.02,
    ties="middle",
    track_frames=20,
    crop=32,
    features="hog",
    parents=6,
    least_members=8,
    neighbours=6,
    clique=3,
    network="small",
    hidden=256,
    embedding=128,
    negatives="all",
    least_part=0.7,
    colour_jitter=0.3,
    steps=200,
    global_batch=64,
    optimizer="adam",
    learning_rate=1e-3,
    weight_decay=0.0,
    init="random",
    # Where --init or --features asks for them.
    patch=32,
    gap=8,
    jitter=2,
    least_pixels=128**2,
    most_pixels=160**2,
    context_batch=64,
    context_steps=600,
    context_optimizer="adam",
)
"""Small enough for two cores and five minutes."""

VIDEOS = replace_fields(
    DEMO,
    videos="folder:videos",
    frame_height=224,
    frame_width=300,
    window=112,
    stride=3,
    least_moving=0.15,
    most_moving=0.85,
    track_frames=12,
)
"""Short clips of ten to fifteen frames a second: twelve frames are about a second."""

TRANSFER = replace_fields(
    VIDEOS,
    stride=1,
    boxes=2,
    crop=48,
    frame_stride=5,
    most_frames=60,
    patch=48,
    gap=12,
    jitter=3,
    least_pixels=192**2,
    most_pixels=240**2,
    features="context",
    parents=12,
    least_members=20,
    neighbours=10,
    clique=4,
    network="vgg16",
    width=0.25,
    hidden=4096,
    embedding=1024,
    init="context",
    global_batch=100,
    steps=300,
)
"""Of VGG16 a quarter of the channels, for what comes after."""

ETH80 = replace_fields(
    DEMO,
    videos="eth80:eth80.npz",
    crop=64,
    mirrored=True,
    parents=12,
    least_members=20,
    neighbours=10,
    clique=4,
    image_size=32,
    # Chosen on objects split off from the training ones: see docs/transitive.md.
    least_part=1.0,
    colour_jitter=0.0,
    steps=500,
    global_batch=100,
    mirrored_too=True,
)
"""Photographs of objects, each view the seed of a track that ends 67.5 degrees on."""

PAPER = replace_fields(
    Config(),
    videos="folder:videos",
    # What takes k-means through millions of pool5s; neighbours are compared by all.
    components=256,
)
"""The paper's sizes."""

PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "demo",
            DEMO,
            "the pipeline, on clips that are rendered",
            "transitive pairs of one category far more often than by chance",
            "arXiv 1708.02901, sections 3 to 5",
            status="run here",
        ),
        Preset(
            "videos",
            VIDEOS,
            "the pipeline, on any folder of short clips",
            "tracks, child clusters and pairs to look at",
            "arXiv 1708.02901, sections 3 to 5",
            status="run here",
        ),
        Preset(
            "transfer",
            TRANSFER,
            "what detection and normals begin with, from any folder of short clips",
            "the paper's tables at a quarter of the width: docs/transfer.md",
            "arXiv 1708.02901, section 5",
            status="run here",
        ),
        Preset(
            "eth80",
            ETH80,
            "the pipeline, on photographs of objects from many sides",
            "categories of unseen objects from features that no label has shaped",
            "arXiv 1708.02901, sections 3 to 5; ETH-80",
            status="run here",
        ),
        Preset(
            "eth80_lars",
            replace_fields(
                ETH80,
                width=0.5,
                optimizer="lars",
                # As chosen at 400 images, with the root of the batch.
                learning_rate=8.0,
                weight_decay=5e-4,
                global_batch=1600,
                steps=200,
                warmup_steps=20,
            ),
            "photographs of objects, in batches of 1,600 with LARS",
            "what the large batch costs: docs/transitive.md",
            "beyond the paper",
            status="run here",
        ),
        Preset(
            "paper",
            PAPER,
            "the paper's sizes",
            "not run: it needs 100,000 videos",
            "arXiv 1708.02901, section 5",
        ),
        Preset(
            "paper_lars",
            replace_fields(
                PAPER,
                optimizer="lars",
                learning_rate=16.0,
                global_batch=6400,
                # As many images as the paper's.
                steps=3125,
                warmup_steps=312,
                negatives="all",
            ),
            "the paper's sizes, in batches of 6,400 with LARS",
            "not run: it needs 100,000 videos",
            "beyond the paper",
            note="the rate is that of eth80_lars, with the root of the batch",
        ),
    )
}
"""Presets by name."""
