import os
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lars_jax.data.fingerprint as fingerprint_module
from lars_jax.data import Subset, folder_source, identify, load_source
from lars_jax.data.fingerprint import WHOLE, WINDOW, Fingerprint, digest_files
from lars_jax.errors import InputError
from tests.data.support import write_digits


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lars_jax" / "contents"


@pytest.fixture
def folder(tmp_path):
    write_digits(tmp_path / "data", count=12)
    return tmp_path / "data"


def known(folder):
    return folder_source(folder, "train").fingerprint()


def first(folder):
    return folder_source(folder, "train").files[0]


def backdate(file):
    """Let a file look as if nobody had touched it for long."""
    os.utime(file, (0, 0))


def test_same_files_have_the_same_digest_wherever_they_lie(tmp_path, folder):
    write_digits(tmp_path / "copy", count=12)
    assert known(folder).digest == known(tmp_path / "copy").digest
    assert known(folder).difference(known(tmp_path / "copy")) is None


def test_missing_file_is_named(folder):
    before, file = known(folder), first(folder)
    file.unlink()
    name = f"{file.parent.name}/{file.name}"
    assert before.difference(known(folder)) == f"{name} is missing"


def test_new_file_is_named(folder):
    before, file = known(folder), first(folder)
    (file.parent / "zzz.png").write_bytes(file.read_bytes())
    assert before.difference(known(folder)) == f"{file.parent.name}/zzz.png is new"


def test_file_of_the_same_size_and_another_content_is_named(folder):
    before, file = known(folder), first(folder)
    file.write_bytes(file.read_bytes()[::-1])
    # Not even an old date, as copying programs set it, hides the change.
    backdate(file)
    found = before.difference(known(folder))
    assert found == f"{file.parent.name}/{file.name} has another content"


def test_renamed_class_is_named(folder):
    before = known(folder)
    (folder / "train" / "3").rename(folder / "train" / "three")
    found = before.difference(known(folder))
    assert found == "class '3' is missing, class 'three' is new"


def test_many_differences_are_counted(folder):
    before = known(folder)
    for file in folder_source(folder, "train").files[:5]:
        file.unlink()
    kept = {c.name for c in (folder / "train").iterdir() if any(c.iterdir())}
    found = before.difference(known(folder))
    gone = set("0123456789") - kept
    assert found is not None
    assert found.count("is missing") == 1 or len(gone) < 3


def test_examples_alone_may_differ():
    more, less = (Fingerprint(n, ("a",), {}) for n in (3, 2))
    assert less.difference(more) == "there are 3 examples for 2"
    turned = Fingerprint(2, ("b", "a"), {})
    assert Fingerprint(2, ("a", "b"), {}).difference(turned) == (
        "its classes are in another order"
    )


def test_contents_are_read_again_only_where_a_file_has_changed(folder, monkeypatch):
    for file in folder_source(folder, "train").files:
        backdate(file)
    # Changed just now, by the clock of the disk, is too recent to be remembered.
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 10**10)
    expected, read = known(folder), []
    content = fingerprint_module._content
    monkeypatch.setattr(
        fingerprint_module, "_content", lambda path: read.append(path) or content(path)
    )
    assert known(folder) == expected
    assert read == []
    changed = first(folder)
    changed.write_bytes(changed.read_bytes()[::-1])
    assert known(folder) != expected
    assert read == [str(changed)]


def test_files_of_two_splits_of_one_folder_are_both_remembered(tmp_path, monkeypatch):
    for name in "abc":
        (tmp_path / name).write_text(name)
        backdate(tmp_path / name)
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 10**10)
    one, other = digest_files(tmp_path, ["a", "b"]), digest_files(tmp_path, ["c"])
    monkeypatch.setattr(fingerprint_module, "_content", lambda path: "read again")
    assert digest_files(tmp_path, ["a", "b"]) == one
    assert digest_files(tmp_path, ["c"]) == other


def test_recent_change_is_not_trusted_to_the_clock(folder):
    before, file = known(folder), first(folder)
    stamp = file.stat()
    file.write_bytes(file.read_bytes()[::-1])
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert known(folder) != before


@pytest.mark.parametrize("content", [b"", b"damaged {", b"[]", b'{"0/0": 3}'])
def test_damaged_cache_is_as_good_as_none(folder, cache, content):
    expected = known(folder)
    for file in cache.glob("*"):
        file.write_bytes(content)
    assert known(folder) == expected


def test_cache_that_cannot_be_written_is_done_without(folder, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert known(folder) == known(folder)


def test_file_that_vanishes_is_refused_by_its_path(tmp_path):
    with pytest.raises(InputError, match=r"gone\.png could not be read \(No such"):
        digest_files(tmp_path, ["gone.png"])


@pytest.mark.parametrize("place", [0, WHOLE - 1, 150_000, 300_000 - WINDOW, -1])
def test_large_file_is_looked_at_in_three_places(tmp_path, place):
    content = bytearray(300_000)
    (tmp_path / "a").write_bytes(content)
    before = digest_files(tmp_path, ["a"])
    content[place] = 1
    (tmp_path / "a").write_bytes(content)
    assert digest_files(tmp_path, ["a"]) != before


def test_digits_and_parts_of_them_are_known_by_their_arrays():
    train, test = (load_source("digits", split) for split in ("train", "test"))
    assert identify(train).digest != identify(test).digest
    part = Subset(train, np.arange(3, dtype=np.int32))
    assert identify(part) == identify(train)


@settings(deadline=None)
@given(
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=4),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=4),
    st.lists(st.text(max_size=3), max_size=3),
    st.lists(st.text(max_size=3), max_size=3),
)
def test_difference_is_said_exactly_where_there_is_one(one, two, names, others):
    a = Fingerprint(len(one), tuple(names), one)
    b = Fingerprint(len(two), tuple(others), two)
    assert (a.difference(b) is None) == (a == b)
    assert Fingerprint.from_json(a.to_json()) == a


@pytest.mark.parametrize("home", ["~nobody-here/cache", "relative"])
def test_user_without_a_home_has_no_cache(tmp_path, monkeypatch, home):
    (tmp_path / "a").write_bytes(b"one")
    known = digest_files(tmp_path, ["a"])
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    assert digest_files(tmp_path, ["a"]) == known
    assert os.listdir() == []
