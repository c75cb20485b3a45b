"""Networks of surface normals by name: the paper's, and a small one of its kind."""

from collections.abc import Mapping
from types import MappingProxyType

from experiments.transitive.normals.config import Config
from lars_jax.runs import Preset
from lars_jax.train.config import replace_fields

SMALL = replace_fields(
    Config(),
    height=120,
    length=160,
    width=0.25,
    # With 7 x 7 most of what fc6 reads of so small a frame would be its border. Of this
    # border scores are centred from 8.5 pixels before the first row and column on, 32
    # apart: 5 rows of them to 119.5, 6 columns to 151.5.
    cells=3,
    border=56,
    global_batch=8,
    steps=1500,
    optimizer="adam",
    learning_rate=3e-4,
    drop_every=1000,
    warmup_steps=100,
    momentum=0.9,
    eval_every=500,
)
"""A quarter of the channels, at a quarter of the sides."""

PRESETS: Mapping[str, Preset[Config]] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset(
                name="small",
                config=SMALL,
                reproduces="the question of Table 5 on small frames",
                expected="no published result",
                source="this repository",
                status="run here",
            ),
            Preset(
                name="nyuv2",
                config=Config(),
                reproduces="Table 5: surface normals of NYUv2 by FCN-32s",
                expected="mean 26.0, median 18.0 degrees with the paper's features; "
                "31.3 and 25.3 from scratch",
                source="arXiv 1708.02901, section 5.4",
            ),
        )
    }
)
"""Every preset by name."""
