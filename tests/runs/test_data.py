"""What a run says of data that are not those it began with."""

import pytest

from lars_jax.data import Fingerprint
from lars_jax.runs.data import FILE, data_change, summaries, write_data

TRAIN = Fingerprint(2, ("cat", "dog"), {"cat/1.png": "a", "dog/1.png": "b"})
TEST = Fingerprint(1, ("cat", "dog"), {"cat/9.png": "c"})
LESS = Fingerprint(1, ("cat", "dog"), {"cat/1.png": "a"})


def record(directory, **found):
    write_data(directory, found)
    return {"data": summaries(found)}


def test_same_data_are_no_change(tmp_path):
    known = record(tmp_path, train=TRAIN, test=TEST)
    assert data_change(tmp_path, known, {"test": TEST, "train": TRAIN}) is None


def test_change_is_named_by_split_and_file(tmp_path):
    known = record(tmp_path, train=TRAIN, test=TEST)
    found = data_change(tmp_path, known, {"train": LESS, "test": TEST})
    assert found == "train: dog/1.png is missing"


@pytest.mark.parametrize("content", [None, b"", b"\x1f\x8bdamaged", b"[]"])
def test_change_is_noticed_without_the_list_of_files(tmp_path, content):
    known = record(tmp_path, train=TRAIN)
    (tmp_path / FILE).unlink()
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    assert data_change(tmp_path, known, {"train": LESS}) == "train: another digest"


def test_splits_that_come_and_go_are_named(tmp_path):
    known = record(tmp_path, train=TRAIN, test=TEST)
    found = data_change(tmp_path, known, {"train": TRAIN, "extra": TEST})
    assert found == "test: it is not read any more; extra: it was not read"


def test_same_record_is_written_byte_for_byte(tmp_path):
    record(tmp_path, train=TRAIN)
    before = (tmp_path / FILE).read_bytes()
    record(tmp_path, train=TRAIN)
    assert (tmp_path / FILE).read_bytes() == before
