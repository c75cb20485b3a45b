"""Detectors by name: those of the paper's tables, and small ones of their kind."""

from collections.abc import Mapping
from types import MappingProxyType

from experiments.transitive.detection.config import Config
from lars_jax.runs import Preset
from lars_jax.train.config import replace_fields

PAPER = "arXiv 1708.02901"
ANCESTOR = "https://github.com/rbgirshick/py-faster-rcnn"

FASTER = replace_fields(
    Config(),
    detector="faster",
    background=(0.0, 0.5),
    regions=128,
    test_proposals=300,
    # 16 of a picture of 500 x 375, which comes out at 800 x 600.
    least_side=25.6,
    steps=35_000,
    drop_every=15_000,
    global_batch=8,
)

SMALL = replace_fields(
    Config(),
    dataset="voc:raccoon",
    train_split="train",
    drop_copies=True,
    short_side=192,
    long_side=320,
    width=0.25,
    proposals=500,
    test_proposals=500,
    steps=1500,
    optimizer="adam",
    learning_rate=3e-4,
    drop_every=1000,
    warmup_steps=100,
    weight_decay=5e-4,
    eval_every=500,
)
"""A quarter of the channels, at a third of the sides."""

SMALL_FASTER = replace_fields(
    SMALL,
    detector="faster",
    background=(0.0, 0.5),
    proposals=300,
    test_proposals=100,
    before=1000,
    scales=(32.0, 64.0, 128.0, 192.0),
    least_side=6.0,
)

PRESETS: Mapping[str, Preset[Config]] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset(
                name="small_fast",
                config=SMALL,
                reproduces="the question of Tables 1 and 2 on a small set of pictures",
                expected="no published result",
                source="this repository",
                status="run here",
            ),
            Preset(
                name="small_faster",
                config=SMALL_FASTER,
                reproduces="the question of Table 3 on a small set of pictures",
                expected="no published result",
                source="this repository",
                status="run here",
            ),
            Preset(
                name="voc07_fast",
                config=Config(),
                reproduces="Tables 1 and 2: Fast R-CNN on VOC 2007",
                expected="mAP 39.7 from scratch, 63.2 with the paper's features",
                source=f"{PAPER}, section 5.2; {ANCESTOR}",
            ),
            Preset(
                name="voc07_faster",
                config=FASTER,
                reproduces="Table 3: Faster R-CNN on VOC 2007",
                expected="mAP 65.0 with the paper's features, all layers trained",
                source=f"{PAPER}, section 5.3; {ANCESTOR}",
            ),
            Preset(
                name="coco_faster",
                config=replace_fields(
                    FASTER,
                    dataset="coco:coco",
                    train_split="trainval35k",
                    test_split="minival5k",
                    # 16 of a picture of 640 x 480.
                    least_side=20.0,
                    steps=120_000,
                    drop_every=80_000,
                    learning_rate=1e-3,
                    rule="coco",
                ),
                reproduces="Table 4: Faster R-CNN on COCO",
                expected="AP 23.5, AP50 44.4 with the paper's features",
                source=f"{PAPER}, section 5.3; {ANCESTOR}",
            ),
        )
    }
)
"""Every preset by name."""
