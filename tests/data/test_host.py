import os
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest

from lars_jax.data import (
    ArraySource,
    batch_samples,
    digits_source,
    evaluation_batches,
    evaluation_images,
    folder_source,
    image_batches,
    index_batches,
    to_arrays,
)
from lars_jax.data.decode import crop_box, resize_image
from lars_jax.errors import InputError
from lars_jax.train import Interrupt, Interrupted
from tests.data.support import encoded, numbered_source, write_digits


def assert_same(left, right):
    left, right = list(left), list(right)
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_index_batches_are_the_batches_of_the_order():
    for step, batch in enumerate(index_batches(50, seed=3, batch=20, steps=6)):
        index, epoch = batch_samples(3, step, 50, 20)
        np.testing.assert_array_equal(batch["index"], index)
        np.testing.assert_array_equal(batch["epoch"], epoch)
    assert step == 5


def test_run_that_starts_later_continues_the_same_batches():
    whole = list(index_batches(50, seed=3, batch=20, steps=6))
    assert_same(index_batches(50, seed=3, batch=20, start=4, steps=6), whole[4:])
    source = numbered_source(50)
    whole = list(image_batches(source, seed=3, batch=20, steps=6))
    assert_same(image_batches(source, seed=3, batch=20, start=4, steps=6), whole[4:])


def test_run_that_is_over_yields_nothing():
    assert list(index_batches(50, seed=0, batch=20, start=6, steps=6)) == []
    source = numbered_source(50)
    assert list(image_batches(source, seed=0, batch=20, start=6, steps=6)) == []


def test_batch_larger_than_the_data_is_refused_before_the_first_batch():
    with pytest.raises(InputError, match="larger than the data: 51 > 50"):
        index_batches(50, seed=0, batch=51, steps=1)
    with pytest.raises(InputError, match="larger than the data: 51 > 50"):
        image_batches(numbered_source(50), seed=0, batch=51, steps=1)


@pytest.mark.parametrize("batch", [1, 7, 50, 64])
def test_image_batches_hold_the_images_of_their_indices(batch):
    source = digits_source("train")
    plan = index_batches(len(source), seed=1, batch=batch, steps=3)
    found = image_batches(source, seed=1, batch=batch, steps=3, threads=2)
    for got, expected in zip(found, plan, strict=True):
        np.testing.assert_array_equal(got["index"], expected["index"])
        np.testing.assert_array_equal(got["epoch"], expected["epoch"])
        np.testing.assert_array_equal(got["image"], source.image[got["index"]])
        np.testing.assert_array_equal(got["label"], source.label[got["index"]])
        assert {name: array.dtype for name, array in got.items()} == {
            "image": np.uint8,
            "label": np.int32,
            "index": np.int32,
            "epoch": np.int32,
        }


@pytest.mark.parametrize("crop", [False, True])
def test_number_of_threads_changes_nothing(tmp_path, crop):
    write_digits(tmp_path, count=60)
    source = folder_source(tmp_path, "train")

    def run(threads):
        return list(
            image_batches(
                source,
                seed=0,
                batch=40,
                steps=4,
                resize=None if crop else 6,
                size=6 if crop else None,
                random_resized_crop=crop,
                threads=threads,
            )
        )

    runs = [run(threads) for threads in (0, 1, 4)]
    assert_same(runs[0], runs[1])
    assert_same(runs[0], runs[2])
    assert runs[0][0]["image"].shape == (40, 6, 6, 3)


def test_random_resized_crop_is_a_function_of_seed_epoch_and_example():
    source = digits_source("train")
    found = image_batches(
        source, seed=5, batch=40, steps=2, size=4, random_resized_crop=True
    )
    for batch in found:
        for image, index, epoch in zip(
            batch["image"],
            batch["index"].tolist(),
            batch["epoch"].tolist(),
            strict=True,
        ):
            left, top, right, bottom = crop_box(
                8, 8, seed=5, epoch=epoch, example=index
            )
            part = source.image[index, top:bottom, left:right]
            np.testing.assert_array_equal(image, resize_image(part, 4))


def test_random_resized_crop_takes_images_of_any_size(tmp_path):
    write_digits(tmp_path, count=5)
    (tmp_path / "train" / "0" / "big.png").write_bytes(
        encoded(np.full((30, 20), 77, np.uint8))
    )
    source = folder_source(tmp_path, "train")
    (batch,) = image_batches(
        source, seed=0, batch=6, steps=1, size=5, random_resized_crop=True
    )
    assert batch["image"].shape == (6, 5, 5, 3)
    big = [file.name for file in source.files].index("big.png")
    assert (batch["image"][batch["index"] == big] == 77).all()


def test_random_resized_crop_without_a_size_is_refused():
    with pytest.raises(InputError, match="needs a size, got None"):
        image_batches(
            numbered_source(9), seed=0, batch=2, steps=1, random_resized_crop=True
        )


@pytest.mark.parametrize("batch", [4, 40])
def test_unequal_sizes_are_refused_within_and_between_parts(tmp_path, batch):
    write_digits(tmp_path, count=40)
    folder = tmp_path / "train" / "0"
    for old in folder.iterdir():
        old.write_bytes(encoded(np.zeros((9, 9), np.uint8)))
    source = folder_source(tmp_path, "train")
    with pytest.raises(InputError, match="set --resize"):
        list(image_batches(source, seed=0, batch=batch, steps=10))


@pytest.mark.parametrize("threads", [0, 2])
def test_unreadable_image_ends_the_batches_with_its_path(tmp_path, threads):
    write_digits(tmp_path, count=20)
    (tmp_path / "train" / "3" / "bad.png").write_bytes(b"damaged")
    source = folder_source(tmp_path, "train")
    with pytest.raises(InputError, match=r"bad\.png is not"):
        list(image_batches(source, seed=0, batch=21, steps=1, threads=threads))


@pytest.mark.parametrize(("size", "batch"), [(10, 3), (9, 3), (1, 8), (50, 64)])
def test_evaluation_counts_every_example_exactly_once(size, batch):
    batches = list(evaluation_batches(size, batch))
    index = np.concatenate([part["index"] for part in batches])
    mask = np.concatenate([part["mask"] for part in batches])
    np.testing.assert_array_equal(index[mask], np.arange(size))
    assert not index[~mask].any()
    assert {len(part["mask"]) for part in batches} == {batch}
    assert all(part["mask"].all() for part in batches[:-1])
    assert index.dtype == np.int32
    assert mask.dtype == np.bool_


@pytest.mark.parametrize("batch", [3, 32, 45, 200])
def test_evaluation_images_are_those_of_the_evaluation_batches(batch):
    source = numbered_source(90, side=6)
    found = list(evaluation_images(source, batch, size=4))
    for got, expected in zip(found, evaluation_batches(90, batch), strict=True):
        mask = expected["mask"]
        np.testing.assert_array_equal(got["index"], expected["index"])
        np.testing.assert_array_equal(got["mask"], mask)
        pixels = got["image"][..., 0]
        expected_pixels = np.where(mask, expected["index"], 0)[:, None, None]
        np.testing.assert_array_equal(
            pixels, np.broadcast_to(expected_pixels, pixels.shape)
        )
        expected_label = np.where(mask, expected["index"] % 3, 0)
        np.testing.assert_array_equal(got["label"], expected_label)
        assert got["image"].shape == (batch, 4, 4, 1)


def test_evaluation_resizes_then_takes_the_centre():
    source = digits_source("test")
    (batch,) = evaluation_images(source, 360, resize=16, size=8)
    expected = resize_image(source.image[7], 16)[4:12, 4:12]
    np.testing.assert_array_equal(batch["image"][7], expected)


def test_evaluation_of_the_middle_loses_no_aspect_ratio():
    # Two images twice as wide as high; the middle half is white.
    image = np.zeros((2, 8, 16, 1), np.uint8)
    image[:, :, 4:12] = 255
    source = ArraySource("wide", ("a", "b"), image, np.array([0, 1], np.int32))
    (batch,) = evaluation_images(source, 2, resize=8, fit="short_side", size=8)
    assert (batch["image"] == 255).all()
    np.testing.assert_array_equal(
        to_arrays(source, resize=8, fit="short_side").image, batch["image"]
    )
    (warped,) = evaluation_images(source, 2, resize=8, size=8)
    assert not (warped["image"] == 255).all()


@pytest.mark.parametrize(("size", "batch"), [(0, 3), (3, 0)])
def test_evaluation_of_nothing_is_refused(size, batch):
    with pytest.raises(InputError, match="at least one example"):
        evaluation_batches(size, batch)


class Watched:
    """A source that remembers which of its examples were read."""

    def __init__(self, source):
        self._source, self.read = source, set()
        self.name, self.class_names = source.name, source.class_names

    def __len__(self):
        return len(self._source)

    def __getitem__(self, index):
        self.read.add(int(index))
        return self._source[index]


@pytest.mark.parametrize("cropped", [False, True])
def test_rows_of_two_processes_make_the_batches_and_each_reads_its_own(cropped):
    options: dict[str, Any] = {"seed": 3, "batch": 20, "steps": 2}
    if cropped:
        options |= {"random_resized_crop": True, "size": 4}
    whole = list(image_batches(numbered_source(50), **options))
    halves = np.arange(20).reshape(2, 10)
    for rows in halves:
        source = Watched(numbered_source(50))
        part = list(image_batches(source, rows=rows, **options))
        for batch, mine in zip(whole, part, strict=True):
            for name in batch:
                np.testing.assert_array_equal(batch[name][rows], mine[name])
        asked = {int(i) for batch in whole for i in batch["index"][rows]}
        assert source.read == asked


def test_rows_of_index_batches_are_those_of_the_whole():
    rows = np.array([4, 5, 6, 11])
    whole = list(index_batches(50, seed=3, batch=20, steps=3))
    part = list(index_batches(50, seed=3, batch=20, steps=3, rows=rows))
    assert_same(part, [{k: v[rows] for k, v in batch.items()} for batch in whole])


def test_rows_of_an_evaluation_count_every_example_once():
    seen = []
    for rows in np.arange(16).reshape(4, 4):
        for batch in evaluation_images(numbered_source(37), 16, rows=rows):
            assert batch["image"].shape[0] == 4
            seen.extend(batch["index"][batch["mask"]].tolist())
    assert sorted(seen) == list(range(37))


class Slow(Watched):
    """A source whose examples take their time, and one for ever until released."""

    def __init__(self, source, stuck=None):
        super().__init__(source)
        self._stuck, self.release = stuck, threading.Event()

    def __getitem__(self, index):
        if index == self._stuck:
            self.release.wait(60)
        return super().__getitem__(index)


def decoders():
    return [t for t in threading.enumerate() if "ThreadPoolExecutor" in t.name]


def settled(found):
    """Return what a function gives once it has stopped changing."""
    while (before := found()) != (time.sleep(0.05), found())[1]:
        pass
    return before


def test_one_batch_is_made_while_the_one_before_is_in_use():
    source = Watched(numbered_source(200))
    batches = image_batches(source, seed=0, batch=10, steps=20, threads=3)
    assert source.read == set()
    for number in range(1, 4):
        next(batches)
        deadline, expected = time.monotonic() + 30, 10 * (number + 1)
        while len(source.read) < expected and time.monotonic() < deadline:
            time.sleep(0.01)
        assert settled(lambda: len(source.read)) == expected


def test_batches_that_are_dropped_leave_no_thread_behind():
    source, before = Watched(numbered_source(200)), settled(lambda: len(decoders()))
    batches = image_batches(source, seed=0, batch=10, steps=20, threads=3)
    next(batches)
    assert len(decoders()) > before
    del batches
    assert settled(lambda: len(decoders())) <= before
    assert len(source.read) <= 20


def test_wait_for_a_batch_ends_with_a_signal():
    first = next(index_batches(50, seed=0, batch=10, steps=1))["index"][0]
    source = Slow(numbered_source(50), stuck=first)
    with Interrupt() as interrupt:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(Interrupted):
            next(interrupt.each(image_batches(source, seed=0, batch=10, steps=5)))
    source.release.set()
