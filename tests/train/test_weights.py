"""Weights in plain files: what comes back, what is refused, what stays whole."""

import json
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from lars_jax.errors import InputError
from lars_jax.train import weights
from lars_jax.train.weights import load_arrays, load_weights, save_weights


def some_tree():
    random = np.random.default_rng(0)
    return {
        "params": {
            "conv": {"kernel": random.normal(size=(3, 3, 2)).astype(np.float32)},
            "scale": jnp.float32(2.0),
        },
        "model_state": {"count": np.arange(3, dtype=np.int32)},
    }


every_kind = pytest.mark.parametrize("kind", ["npz", "safetensors"])


@every_kind
def test_weights_come_back_bit_for_bit(tmp_path, kind):
    path = tmp_path / f"weights.{kind}"
    save_weights(path, some_tree())
    found = load_weights(path, jax.eval_shape(some_tree))
    assert jax.tree.structure(found) == jax.tree.structure(some_tree())
    jax.tree.map(np.testing.assert_array_equal, found, some_tree())
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_files_are_read_by_others_under_names_of_paths(tmp_path):
    for kind in ("npz", "safetensors"):
        save_weights(tmp_path / f"weights.{kind}", some_tree())
    names = {"params/conv/kernel", "params/scale", "model_state/count"}
    assert set(np.load(tmp_path / "weights.npz")) == names
    others = load_file(tmp_path / "weights.safetensors")
    assert set(others) == names
    kernel = some_tree()["params"]["conv"]["kernel"]
    np.testing.assert_array_equal(others["params/conv/kernel"], kernel)


def test_the_same_weights_are_the_same_file(tmp_path):
    about = {f"name {k}": f"value {k}" for k in range(20)}
    files = []
    for number in range(3):
        path = tmp_path / f"{number}.safetensors"
        save_weights(path, {"w": np.arange(3.0)}, dict(reversed(about.items())))
        files.append(path.read_bytes())
    assert files[0] == files[1] == files[2]
    with safe_open(tmp_path / "0.safetensors", "numpy") as opened:
        assert opened.metadata() == about
        np.testing.assert_array_equal(opened.get_tensor("w"), np.arange(3.0))


def test_transposed_array_keeps_its_numbers(tmp_path):
    tree = {"w": np.arange(6, dtype=np.float32).reshape(2, 3).T}
    save_weights(tmp_path / "w.safetensors", tree)
    found = load_weights(tmp_path / "w.safetensors", tree)
    np.testing.assert_array_equal(found["w"], tree["w"])


@every_kind
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t["params"].pop("scale"), "hold no others .* params/scale"),
        (lambda t: t.update(new=np.ones(1)), "hold every array .* new"),
        (
            lambda t: t["params"].update(scale=np.ones(2, np.float32)),
            r"shapes and dtypes .* params/scale float32\[\] for float32\[2\]",
        ),
        (
            lambda t: t["params"].update(scale=np.float16(1)),
            r"float32\[\] for float16\[\]",
        ),
    ],
)
def test_file_of_another_network_is_refused(tmp_path, kind, change, words):
    path = tmp_path / f"weights.{kind}"
    save_weights(path, some_tree())
    like = some_tree()
    change(like)
    with pytest.raises(InputError, match=words) as caught:
        load_weights(path, like)
    assert "\n" not in str(caught.value)


@every_kind
@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_broken_file_is_refused(tmp_path, kind, content):
    path = tmp_path / f"weights.{kind}"
    save_weights(path, some_tree())
    path.write_bytes(path.read_bytes()[:60] if content is None else content)
    with pytest.raises(InputError, match="must be whole"):
        load_weights(path, some_tree())


def test_absent_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        load_weights(tmp_path / "weights.npz", some_tree())


def test_directory_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="needs a directory"):
        save_weights(tmp_path / "none" / "weights.npz", some_tree())


@pytest.mark.parametrize("name", ["weights", "weights.pt"])
def test_other_kind_of_file_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"\*\.npz or \*\.safetensors"):
        save_weights(tmp_path / name, some_tree())


@every_kind
def test_names_that_are_numpys_own_arguments_are_kept(tmp_path, kind):
    tree = {name: np.arange(3.0) for name in ("file", "allow_pickle", "w")}
    save_weights(tmp_path / f"w.{kind}", tree)
    assert set(load_arrays(tmp_path / f"w.{kind}")) == set(tree)


@every_kind
def test_two_arrays_of_one_name_are_refused(tmp_path, kind):
    tree = {"a/b": np.ones(1), "a": {"b": np.zeros(1)}}
    with pytest.raises(InputError, match="got a/b twice: rename one"):
        save_weights(tmp_path / f"w.{kind}", tree)
    assert not list(tmp_path.iterdir())


def foreign_safetensors(path):
    header = json.dumps(
        {"w": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}
    ).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")


def foreign_npz(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no array")


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        ("w.safetensors", foreign_safetensors, "BF16"),
        ("w.npz", foreign_npz, "notes.txt is no array"),
    ],
)
def test_what_numpy_cannot_hold_is_refused(tmp_path, name, write, words):
    write(tmp_path / name)
    with pytest.raises(InputError, match=words) as caught:
        load_arrays(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_dtype_that_numpy_does_not_have_is_refused(tmp_path):
    with pytest.raises(InputError, match="bfloat16 at w: convert"):
        save_weights(tmp_path / "w.npz", {"w": jnp.ones(2, jnp.bfloat16)})


def test_failed_write_leaves_the_old_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "weights.npz"
    save_weights(path, some_tree())
    before = path.read_bytes()

    def half(path, arrays):
        path.write_bytes(b"half")
        raise OSError("disk")

    monkeypatch.setattr(weights, "_write_npz", half)
    with pytest.raises(InputError, match=r"weights.npz could not be written \(disk"):
        save_weights(path, some_tree())
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
