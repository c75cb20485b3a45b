"""The stages of the pipeline, from raw video to features: files to files.

videos     what there is, or the clips of the demo
mine       frames in which an object moves, and its box
track      the same object some frames later; crops of both
frames     photographs for context prediction, from the same videos
context    the context network; weights.safetensors
features   float16 [seeds, D] of the seeds, and their principal components
graph      parents, child clusters, pairs
triplet    the triplet network; weights.safetensors
evaluate   what the features are good for

Photographs of objects from many sides take the place of the first three: there, track
is the first stage.
"""

from functools import partial

from experiments.transitive import learning, sources
from experiments.transitive.beam import WITHOUT_BEAM, Runner
from experiments.transitive.config import Config
from experiments.transitive.evaluation import evaluate_features, evaluation_digests
from lars_jax.runs import Stage


def make_stages(config: Config, runner: Runner = WITHOUT_BEAM) -> list[Stage[Config]]:
    """Return the stages of a configuration, in their order.

    Context prediction is left out where nothing is made of it.

    Args:
        config: what the stages make.
        runner: does the work of those that read video; no result depends on it.

    >>> [stage.name for stage in make_stages(Config())][-3:]
    ['graph', 'triplet', 'evaluate']
    """
    context, multi_task = config.uses_context, config.triplet.context_weight > 0
    stages = [
        *_sources(config, runner),
        Stage(
            "context",
            learning.train_context,
            ("frames",),
            ("context", "model", "seed"),
            resumes=True,
        ),
        Stage(
            "features",
            learning.take_features,
            ("track", *_if(config.features.features == "context", "context")),
            ("features", "model"),
        ),
        Stage(
            "graph", learning.make_graph, ("track", "features"), ("clusters", "seed")
        ),
        Stage(
            "triplet",
            learning.train_triplet,
            (
                "track",
                "graph",
                *_if(config.triplet.init == "context", "context"),
                *_if(multi_task, "frames"),
            ),
            ("triplet", "model", "seed", *_if(multi_task, "context")),
            resumes=True,
        ),
        Stage(
            "evaluate",
            evaluate_features,
            (
                "track",
                "graph",
                "triplet",
                *_if(context, "context"),
                *_if(config.video.videos == "demo", "videos"),
            ),
            ("evaluation", "model", "triplet", "mining", "seed"),
            reads=evaluation_digests,
        ),
    ]
    left_out = {*_if(not context, "context")}
    left_out |= {*_if(not context and not multi_task, "frames")}
    return [stage for stage in stages if stage.name not in left_out]


def _sources(config: Config, runner: Runner) -> list[Stage[Config]]:
    """Return the stages that bring crops and frames."""
    if config.of_photographs:
        # Which of them are held out is a matter of evaluation and seed.
        settings = ("video", "evaluation", "seed")
        return [
            Stage(
                "track",
                sources.track_photographs,
                settings=(*settings, "tracking"),
                reads=sources.video_digests,
            ),
            Stage(
                "frames",
                sources.take_photographs,
                settings=settings,
                reads=sources.video_digests,
            ),
        ]
    return [
        Stage(
            "videos",
            sources.make_videos,
            settings=("video", "seed"),
            reads=sources.video_digests,
        ),
        Stage(
            "mine",
            partial(sources.mine, runner=runner),
            ("videos",),
            ("mining",),
            resumes=True,
        ),
        Stage(
            "track",
            partial(sources.track, runner=runner),
            ("videos", "mine"),
            ("mining", "tracking"),
            resumes=True,
        ),
        Stage("frames", sources.take_frames, ("videos",), ("frames",)),
    ]


def _if(needed: bool, name: str) -> tuple[str, ...]:
    return (name,) if needed else ()
