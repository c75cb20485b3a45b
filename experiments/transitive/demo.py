"""Clips of real pixels and known truth, rendered from what scikit-learn ships.

A photograph is the background, over which a camera pans and zooms; before it an object
goes round, turns and comes nearer: a handwritten digit on a card, or a part of the
other photograph. Each category has several instances, and each instance comes in
several clips, so that all that the pipeline finds can be held against what is there.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from experiments.transitive.config import VideoConfig
from experiments.transitive.records import load_array, npy_bytes
from experiments.transitive.video import opencv
from lars_jax.errors import naming
from lars_jax.files import make_directory, replacing

HEIGHT, WIDTH = 224, 300
"""Pixels of a frame: half of those that the paper resizes to."""

CATEGORIES = ("zero", "seven", "flower", "pagoda")
INSTANCES = 3
CLIPS = "clips"
OBJECT = 112
"""Side of an object's picture before it is scaled, in pixels."""

BLUR, BLUR_OF_DIGITS = 1.0, 2.0
"""Pixels of the backgrounds' blur behind a cut-out and behind a digit."""

RATE = 15.0
"""Frames a second that the files say."""

_PURPOSE = 15  # Of the random numbers that are drawn here, apart from all others'.
_DIGITS = {"zero": 0, "seven": 7}


@dataclass(frozen=True)
class Truth:
    """What the clips show.

    Attributes:
        boxes: int32 [C, F, 4], left, top, width and height of what is seen of the
            object in each frame of each clip, in pixels of the clip.
        category: int32 [C], place in `CATEGORIES` of the object of each clip.
        identity: int32 [C], number of the object, which other clips may show too.
    """

    boxes: np.ndarray
    category: np.ndarray
    identity: np.ndarray


def render_clips(
    config: VideoConfig,
    seed: int,
    directory: Path,
    each: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> Truth:
    """Render clips into `directory/clips`, and the truth beside it.

    Args:
        config: number of clips, and of frames of each.
        seed: of all that is drawn; the same one gives the same files.
        directory: is made where it is not there.
        each: yields the numbers of clips that it is given, and may raise to end the
            work.

    Returns:
        The truth, which `read_truth` reads again.

    Raises:
        InputError: OpenCV is not installed, or the files cannot be written.
    """
    make_directory(directory / CLIPS)
    boxes = np.zeros((config.clips, config.clip_frames, 4), np.int32)
    numbers = np.arange(config.clips, dtype=np.int32)
    category = numbers % len(CATEGORIES)
    instance = numbers // len(CATEGORIES) % INSTANCES
    for clip in each(range(config.clips)):
        rng = np.random.default_rng([seed, _PURPOSE, clip])
        name = CATEGORIES[category[clip]]
        thing, ground = draw_object(name, int(instance[clip])), draw_ground(name, rng)
        frames, boxes[clip] = render_clip(thing, ground, config.clip_frames, rng)
        _write(directory / CLIPS / f"{clip:06d}.avi", frames)
    truth = Truth(boxes, category, category * INSTANCES + instance)
    for name, array in vars(truth).items():
        with replacing(directory / f"{name}.npy") as temporary:
            temporary.write_bytes(npy_bytes(array))
    return truth


def read_truth(directory: Path) -> Truth:
    """Return the truth of the clips in a directory.

    Raises:
        InputError: it is missing or damaged.
    """
    names = ("boxes", "category", "identity")
    return Truth(*(load_array(directory / f"{name}.npy") for name in names))


def render_clip(
    thing: np.ndarray, ground: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return frames of an object that moves before a background that the camera passes.

    Args:
        thing: uint8 [S, S, 4], colours and opacity.
        ground: uint8 [H, W, 3], the background.
        count: number of frames F.
        rng: draws the ways of camera and object.

    Returns:
        uint8 [F, 224, 300, 3], and int32 [F, 4], the box of what is seen of the object.
    """
    cv2 = opencv()
    camera, path = _camera(count, ground.shape, rng), _path(count, rng)
    colours = thing[..., :3].astype(np.float32)
    opacity = np.repeat(thing[..., 3:].astype(np.float32) / 255, 3, axis=2)
    frames = np.empty((count, HEIGHT, WIDTH, 3), np.uint8)
    boxes = np.zeros((count, 4), np.int32)
    for number in range(count):
        size = (WIDTH, HEIGHT)
        seen = cv2.warpAffine(
            ground,
            camera[number],
            size,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        alpha = cv2.warpAffine(opacity, path[number], size)
        # Of colours times opacity, so that nothing dark runs around the object.
        front = cv2.warpAffine(colours * opacity, path[number], size)
        frames[number] = np.rint(front + (1 - alpha) * seen)
        boxes[number] = cv2.boundingRect((alpha[..., 0] > 0.5).astype(np.uint8))
    return frames, boxes


def _camera(count: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return maps from frame to background, float64 [F, 2, 3]: a pan and a zoom."""
    time = np.arange(count)
    zoom = rng.uniform(0.95, 1.05) + 0.1 * np.sin(time / 25 + rng.uniform(0, 7))
    angle = rng.uniform(0, 2 * np.pi)
    speed = rng.uniform(0.6, 1.2)
    # To and fro, so that a clip of any length stays before the photograph.
    along = 50 * np.sin(speed * time / 50)
    x = shape[1] / 2 + rng.uniform(-60, 60) + np.cos(angle) * along
    y = shape[0] / 2 + rng.uniform(-20, 20) + np.sin(angle) * along
    zeros = np.zeros(count)
    left, top = x - zoom * WIDTH / 2, y - zoom * HEIGHT / 2
    return np.array([[zoom, zeros, left], [zeros, zoom, top]]).transpose(2, 0, 1)


def _path(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return maps from object to frame, float64 [F, 2, 3]: round, turning, nearer."""
    time = np.arange(count)
    turn = np.deg2rad(rng.uniform(-10, 10) + 25 * np.sin(time / 16 + rng.uniform(0, 7)))
    scale = rng.uniform(0.85, 1.0) + 0.1 * np.sin(time / 20 + rng.uniform(0, 7))
    way = rng.choice([-1, 1]) * time / rng.uniform(14, 18) + rng.uniform(0, 7)
    x = WIDTH / 2 + rng.uniform(65, 80) * np.cos(way)
    y = HEIGHT / 2 + rng.uniform(35, 45) * np.sin(way)
    cosine, sine = scale * np.cos(turn), scale * np.sin(turn)
    middle = OBJECT / 2
    left = x - middle * (cosine - sine)
    top = y - middle * (sine + cosine)
    return np.array([[cosine, -sine, left], [sine, cosine, top]]).transpose(2, 0, 1)


def draw_object(category: str, instance: int) -> np.ndarray:
    """Return the picture of an object.

    Args:
        category: one of `CATEGORIES`.
        instance: which object of the category, 0 .. `INSTANCES` - 1.

    Returns:
        uint8 [112, 112, 4], colours and opacity.

    >>> draw_object("seven", 1).shape
    (112, 112, 4)
    """
    if category in _DIGITS:
        return _draw_digit(_DIGITS[category], instance)
    return _draw_cut_out(category, instance)


def _draw_digit(digit: int, instance: int) -> np.ndarray:
    """Return a handwritten digit, 8 x 8 squares of ink on a card, tinted."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    grey = images[labels == digit][instance].reshape(8, 8) / 16
    ink = np.array([(250, 240, 120), (120, 240, 250), (250, 150, 240)])[instance]
    card = np.array([(40, 20, 90), (90, 30, 20), (20, 70, 30)])[instance]
    colours = card + grey[..., None] * (ink - card)
    large = np.rint(colours).astype(np.uint8).repeat(14, 0).repeat(14, 1)
    return np.dstack([large, np.full((OBJECT, OBJECT), 255, np.uint8)])


def _draw_cut_out(category: str, instance: int) -> np.ndarray:
    """Return a part of a photograph, in other colours, mirrored, and nearer."""
    cv2 = opencv()
    pagoda, flower = _photographs()
    if category == "flower":
        part, zoom = flower[84:360, 168:444], (1.0, 0.8, 0.65)[instance]
    else:
        part, zoom = pagoda[110:390, 67:347], (1.0, 0.85, 0.7)[instance]
    side = int(zoom * len(part))
    edge = (len(part) - side) // 2
    part = part[edge : edge + side, edge : edge + side]
    part = cv2.resize(part, (OBJECT, OBJECT), interpolation=cv2.INTER_AREA)
    if instance == 1:
        part = part[:, ::-1].copy()
    hsv = cv2.cvtColor(part, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(int) + (0, 12, 170)[instance]) % 180
    colours = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    mask = np.zeros((OBJECT, OBJECT), np.uint8)
    if category == "flower":
        cv2.circle(mask, (OBJECT // 2, OBJECT // 2), OBJECT // 2 - 1, 255, -1)
    else:
        mask[4:-4, 4:-4] = 255
    return np.dstack([colours, mask])


@cache
def _photographs() -> tuple[np.ndarray, np.ndarray]:
    """Return the photographs of a pagoda and of a flower, uint8 [427, 640, 3]."""
    from sklearn.datasets import load_sample_images

    pagoda, flower = load_sample_images().images
    return pagoda, flower


def draw_ground(category: str, rng: np.random.Generator) -> np.ndarray:
    """Return the background of an object, a photograph that does not show it.

    It is less sharp, the plainer the object, so that both have points enough for a
    moving share between the limits.

    Args:
        category: of the object.
        rng: draws the photograph where both will do.

    Returns:
        uint8 [427, 640, 3].
    """
    pagoda, flower = _photographs()
    grounds = {"flower": pagoda, "pagoda": flower}
    ground = grounds.get(category, (pagoda, flower)[rng.integers(2)])
    blur = BLUR_OF_DIGITS if category in _DIGITS else BLUR
    return opencv().GaussianBlur(ground, (0, 0), blur)


def _write(path: Path, frames: np.ndarray) -> None:
    cv2 = opencv()
    with replacing(path) as temporary, naming(path, "written"):
        writer = cv2.VideoWriter(
            str(temporary),
            cv2.CAP_OPENCV_MJPEG,
            cv2.VideoWriter_fourcc(*"MJPG"),
            RATE,
            (WIDTH, HEIGHT),
        )
        if not writer.isOpened():
            raise OSError(None, "OpenCV cannot open it")
        for frame in frames:
            writer.write(np.ascontiguousarray(frame[..., ::-1]))
        writer.release()


def score_crops(
    truth: Truth, index: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Hold crops against the truth.

    Args:
        truth: of the clips.
        index: rows of `shards.INDEX` [N].
        height: of the frames that boxes are in, in pixels.
        width: likewise.

    Returns:
        float64 [N], intersection over union of each crop's box and the object's; and
        float64 [N], the share of the object's box that is in the crop.

    >>> from experiments.transitive.shards import INDEX
    >>> truth = Truth(np.array([[[0, 0, 10, 10]]]), np.zeros(1), np.zeros(1))
    >>> index = np.zeros(1, INDEX)
    >>> index["x"], index["side"] = 5, 10
    >>> [float(value[0]) for value in score_crops(truth, index, HEIGHT, WIDTH)]
    [0.3333333333333333, 0.5]
    """
    scale = np.array([width / WIDTH, height / HEIGHT])
    boxes = truth.boxes[index["video"], index["frame"]].astype(float)
    low, size = boxes[:, :2] * scale, boxes[:, 2:] * scale
    start = np.stack([index["x"], index["y"]], axis=1).astype(float)
    side = index["side"][:, None].astype(float)
    common = np.minimum(low + size, start + side) - np.maximum(low, start)
    both = np.maximum(common, 0).prod(axis=1)
    area = size.prod(axis=1)
    union = area + side[:, 0] ** 2 - both
    return both / union, both / np.maximum(area, 1)
