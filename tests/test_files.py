"""Paths lead where they were typed, and files are whole or absent."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lars_jax.errors import FileError, InputError, naming
from lars_jax.files import local_path, replacing

CODES = sorted(errno.errorcode)


@pytest.mark.parametrize(
    "url", ["gs://bucket/run", "s3://b", "file:///tmp/a", "HTTPS://host/a", "gs:/b/run"]
)
def test_url_is_refused(url):
    for given_as in (str, Path):
        with pytest.raises(InputError, match="this machine's file systems; got"):
            local_path(given_as(url))


@pytest.mark.parametrize("name", ["a:b", "2026-11-26T10:30/run", "c:/d", "~", "~/a:/b"])
def test_path_that_looks_a_little_like_a_url_is_one_of_files(name):
    assert local_path(name) == Path(name).expanduser()


def test_home_of_nobody_is_refused():
    with pytest.raises(InputError, match="~ must be the home of somebody"):
        local_path("~nobody-of-that-name/a")


@given(st.sampled_from(CODES), st.sampled_from(["read", "written", "locked", "used"]))
def test_any_answer_of_the_system_is_one_line_with_path_and_remedy(code, doing):
    with pytest.raises(FileError) as caught, naming("/a/b", doing):
        raise OSError(code, os.strerror(code))
    line = str(caught.value)
    assert line.startswith(f"/a/b could not be {doing} ({os.strerror(code)}): ")
    assert "\n" not in line
    assert caught.value.errno == code


def test_file_that_an_inner_block_named_keeps_its_name(tmp_path):
    outer, inner = naming("outer", "written"), naming("inner", "read")
    with pytest.raises(FileError, match="inner could not be read"), outer, inner:
        (tmp_path / "nothing").read_bytes()


def test_name_may_be_as_long_as_a_name_can_be(tmp_path):
    path = tmp_path / ("é" * 120 + ".json")
    with replacing(path) as temporary:
        temporary.write_text("{}")
    assert path.read_text() == "{}"
    assert list(tmp_path.iterdir()) == [path]


def test_name_that_is_too_long_is_refused_in_a_line(tmp_path):
    told = pytest.raises(FileError, match="could not be written .*name another place")
    with told, replacing(tmp_path / ("a" * 300)) as temporary:
        temporary.write_text("")
    assert list(tmp_path.iterdir()) == []
