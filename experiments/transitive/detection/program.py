"""A detector in training, as the shell runs it."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax

from experiments.transitive.detection.annotated import (
    Annotated,
    Detections,
    read_pixels,
)
from experiments.transitive.detection.batches import (
    Pictures,
    canvases,
    pad_batch,
    train_batches,
    whole_canvases,
)
from experiments.transitive.detection.config import Config
from experiments.transitive.detection.detect import detect, unpad
from experiments.transitive.detection.gallery import detection_sheet, draw_detections
from experiments.transitive.detection.losses import detector_loss
from experiments.transitive.detection.network import Detector, frozen_layers
from experiments.transitive.detection.scores import score_detections
from experiments.transitive.host_fed import HostFedProgram
from experiments.transitive.pretrained import pretrained_trunk
from experiments.transitive.rule import make_rule
from lars_jax.report import save_png
from lars_jax.runs import Cadence, Files
from lars_jax.train import DataParallel, Interrupt, TrainState, data_mesh, update
from lars_jax.train.ahead import AheadOfTime
from lars_jax.train.interrupt import NEVER
from lars_jax.train.record import plain, write_json

Regions = Sequence[np.ndarray]

SHOWN = 20
"""Pictures of the evaluation that are drawn at the end of a run."""

CALIBRATION = 8
"""Pictures by which weights that were learned elsewhere are scaled."""


class DetectorProgram(HostFedProgram):
    """Training on annotated pictures.

    Args:
        config: of the detector, checked.
        train: pictures to learn from.
        test: pictures to evaluate, of the same classes.
        regions: what selective search proposes in each to learn from; None: Faster
            R-CNN needs none.
        test_regions: the same of those to evaluate.
    """

    def __init__(
        self,
        config: Config,
        train: Annotated,
        test: Annotated,
        regions: Regions | None = None,
        test_regions: Regions | None = None,
    ):
        data = config.data
        self.config, self.seed = config, config.seed
        self.class_names, self.test_places = train.class_names, test.places
        self.examples_per_step, self.log_every = config.global_batch, config.log_every
        self.detector = Detector(config, len(train.class_names))
        self.parallel = DataParallel(data_mesh(config.devices))
        self.parallel.check_divides(config.global_batch)
        sides = {"short": data.short_side, "long": data.long_side}
        self.train = Pictures(train.pictures, regions, **sides)
        self.test = Pictures(test.pictures, test_regions, **sides)
        self.canvases = canvases(self.train, self.test)
        step = functools.partial(train_step, self.detector)
        find = functools.partial(_find, self.detector)
        # A program for pictures that lie and one for those that stand.
        self.train_steps = {
            name: AheadOfTime(self.parallel.compile(step)) for name in self.canvases
        }
        self.find = self.parallel.compile_pure(find)

    @property
    def cadence(self) -> Cadence:
        """When it evaluates, saves and ends."""
        every = min(self.config.eval_every, self.config.steps)
        return Cadence(self.config.steps, every, every)

    def drawn(self) -> TrainState:
        """Return the state before the first step, its weights drawn by the seed."""
        return drawn_state(self.detector)

    def learned(self, params: Any) -> Any:
        """Return the convolutions of `init_from`."""
        if self.config.model.init_from is None:
            return None
        return pretrained_trunk(self.config.model, params["trunk"], self._calibration())

    def batches(self, start: int) -> Iterator[dict[str, np.ndarray]]:
        """Yield the batch of every step from `start` on."""
        config = self.config
        return train_batches(
            self.train,
            self.canvases,
            batch=config.global_batch,
            seed=config.seed,
            start=start,
            stop=config.steps,
            rows=self.parallel.local_rows(config.global_batch),
            regions=region_rows(config, train=True),
            flip=config.data.flip,
        )

    def step_of(self, batch: Any) -> AheadOfTime:
        """Return the step for pictures that lie or for those that stand."""
        shape = batch["image"].shape[1:3]
        return next(
            step
            for name, step in self.train_steps.items()
            if self.canvases[name] == shape
        )

    def evaluate(
        self, state: TrainState, interrupt: Interrupt = NEVER
    ) -> dict[str, float]:
        """Return average precision, as shares of 1, over the evaluation's pictures.

        Raises:
            Interrupted: a signal came.
        """
        found = self.detections(state, interrupt)
        return {"count": float(len(self.test))} | self._scores(found)

    def _scores(self, found: Sequence[Detections]) -> dict[str, float]:
        rule = self.config.evaluation.rule
        return score_detections(found, self.test.pictures, self.class_names, rule)

    def baseline(self) -> dict[str, float]:
        """Return the average precision of one box, the same part of every picture.

        It is the mean box of the commonest class in training, in shares of the sides.
        """
        boxes, kinds = [], []
        for picture in self.train.pictures:
            sides = np.array([picture.width, picture.height] * 2, np.float64)
            # What is difficult does not count.
            boxes += list((picture.boxes / sides)[~picture.difficult])
            kinds += picture.classes[~picture.difficult].tolist()
        kind = int(np.bincount(kinds).argmax())
        share = np.mean([b for b, k in zip(boxes, kinds, strict=True) if k == kind], 0)
        found = [
            Detections(
                boxes=share[None] * np.array([[picture.width, picture.height] * 2]),
                scores=np.ones(1),
                classes=np.array([kind]),
            )
            for picture in self.test.pictures
        ]
        return {"baseline/same_box/ap50": self._scores(found)["ap50"]}

    def detections(
        self, state: TrainState, interrupt: Interrupt = NEVER
    ) -> list[Detections]:
        """Return what is found in each evaluation picture, in their order.

        Raises:
            Interrupted: a signal came.
        """
        return find_all(self, state.params, self.test, interrupt)

    def weights(self, state: TrainState) -> Any:
        """Return the weights that `export` writes."""
        return {"params": state.params}

    def describe(self, state: TrainState) -> Iterator[str]:
        """Yield lines that say what is about to run."""
        count = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        model = self.config.model
        sizes = " and ".join(f"{h} x {w}" for h, w in self.canvases.values())
        yield (
            f"{model.detector.capitalize()} R-CNN, {count:,} parameters; "
            f"{len(self.train):,} pictures to train on, {len(self.test):,} to evaluate,"
            f" {len(self.class_names)} classes; {sizes} pixels; "
            f"{self.config.steps} steps"
        )

    def row(self, step: int, metrics: dict[str, Any]) -> dict[str, Any]:
        """Return a row of metrics."""
        row = plain(metrics)
        return {f"train/{name}": value for name, value in row.items()} | {
            "epoch": step * self.config.global_batch / len(self.train)
        }

    def format_row(self, row: Mapping[str, Any]) -> str:
        """Return a row as a short line for the progress bar."""
        return f"loss {row['train/loss']:.3f}"

    def format_evaluation(self, evaluation: Mapping[str, Any]) -> str:
        """Return an evaluation as a short line."""
        shown = f"AP50 {100 * evaluation['ap50']:.1f} % of {evaluation['count']:.0f}"
        if "ap" in evaluation:
            return f"AP {100 * evaluation['ap']:.1f} %, {shown}"
        return shown

    def score(self, evaluation: Mapping[str, Any]) -> float | None:
        """Return the average precision, by which the best checkpoint is kept."""
        return evaluation.get("ap", evaluation.get("ap50"))

    def on_finish(self, state: TrainState, files: Files, interrupt: Interrupt) -> None:
        """Write what was found, by picture."""
        found = self.detections(state, interrupt)
        if files.writes:
            sheet = self._sheet(found)
            save_png(files.directory / "detections.png", sheet)
            write_json(
                files.directory / "detections.json",
                {
                    place: {
                        "boxes": one.boxes.round(2).tolist(),
                        "scores": one.scores.round(4).tolist(),
                        "classes": [self.class_names[k] for k in one.classes],
                    }
                    for place, one in zip(self.test_places, found, strict=True)
                },
            )

    def _sheet(self, found: Sequence[Detections]) -> np.ndarray:
        """Return some pictures of the evaluation with what was found and what is."""
        places = np.linspace(0, len(self.test) - 1, min(SHOWN, len(self.test)))
        return detection_sheet(
            [
                draw_detections(
                    read_pixels(self.test.pictures[place]),
                    found[place],
                    self.class_names,
                    self.test.pictures[place],
                )
                for place in places.round().astype(int).tolist()
            ]
        )

    def _calibration(self) -> np.ndarray:
        """Return the first training pictures of a kind, as they are shown."""
        # Of pictures to evaluate there may be a kind that none to train on is of.
        name = next(iter(canvases(self.train)))
        sides = self.canvases[name]
        kind = (self.train.sizes[:, 1] >= self.train.sizes[:, 0]) == (name == "lying")
        places = np.flatnonzero(kind)[:CALIBRATION]
        shown = [self.train.show(place) for place in places.tolist()]
        return pad_batch(shown, sides, objects=self.train.most_objects, regions=1)[
            "image"
        ]


def find_all(
    program: DetectorProgram, params: Any, pictures: Pictures, interrupt: Interrupt
) -> list[Detections]:
    """Return what is found in each picture, in their order."""
    size, results = program.parallel.num_devices, {}
    # What is beside a picture reaches into its features, so that no canvas may depend
    # on which others are looked at.
    sides = whole_canvases(pictures.short, pictures.long)
    if pictures is program.test:
        sides = program.canvases
    shared = program.parallel.replicate({"key": jax.random.key(0)})
    lies = pictures.sizes[:, 1] >= pictures.sizes[:, 0]
    for name, kind in (("lying", lies), ("standing", ~lies)):
        places = np.flatnonzero(kind)
        for first in range(0, len(places), size):
            interrupt.check()
            chosen = places[first : first + size]
            shown = [pictures.show(k) for k in np.resize(chosen, size).tolist()]
            batch = pad_batch(
                shown,
                sides[name],
                objects=pictures.most_objects,
                regions=region_rows(program.config, train=False),
            )
            placed = program.parallel.shard_batch(batch)
            found = jax.device_get(program.find(params, placed, shared))
            scales = [one.scale for one in shown[: len(chosen)]]
            results |= dict(zip(chosen.tolist(), unpad(found, scales), strict=True))
    return [results[place] for place in range(len(pictures))]


def region_rows(config: Config, *, train: bool) -> int:
    """Return the rows of regions of a picture that a batch brings."""
    if config.model.detector == "faster":
        return 1
    own = config.regions
    return own.proposals if train else own.test_proposals


def drawn_state(detector: Detector) -> TrainState:
    """Return the state before the first step, drawn from the seed."""
    params = detector.init(jax.random.key(detector.config.seed))
    return TrainState.create(params, {}, make_optimizer(detector.config))


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """Return the rule of a configuration; frozen layers are left as they are."""
    rule, stay = make_rule(config.optimizer), frozen_layers(config)
    if config.clip is not None:
        rule = optax.chain(optax.clip_by_global_norm(config.clip), rule)
    if not stay:
        return rule

    def labels(params: Any) -> Any:
        return {
            name: {
                layer: "frozen" if name == "trunk" and layer in stay else "trained"
                for layer in part
            }
            for name, part in params.items()
        }

    return optax.partition({"trained": rule, "frozen": optax.set_to_zero()}, labels)


def train_step(
    detector: Detector, state: TrainState, batch: Any, shared: dict[str, jax.Array]
) -> Any:
    """Return the state after a step, and its metrics."""
    key = jax.random.fold_in(shared["key"], state.step)
    tx = make_optimizer(detector.config)

    def loss_fn(params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
        loss, parts = detector_loss(detector, params, batch, key)
        return loss, (model_state, parts)

    return update(loss_fn, tx, state, batch, key)


def _find(detector: Detector, params: Any, batch: Any, shared: Any) -> Any:
    del shared
    return detect(detector, params, batch)
