"""The paper's tables, from runs that each last a moment."""

import copy
import itertools
import json
import shutil
import signal
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.transitive.experiment import main
from experiments.transitive.networks import BLOCKS, trunk_network
from experiments.transitive.presets import PRESETS
from experiments.transitive.pretrained import load_trunk, pretrained_trunk
from experiments.transitive.transfer import runs
from experiments.transitive.transfer.methods import METHODS
from experiments.transitive.transfer.plan import Plan
from experiments.transitive.transfer.runs import (
    pretrain,
    run_transfer,
    task_config,
    write_tables,
)
from experiments.transitive.transfer.tables import TABLES, markdown
from lars_jax.data import known_statistics, normalize
from lars_jax.files import make_directory
from lars_jax.models import vgg16
from lars_jax.runs.train import Outcome
from lars_jax.train import Interrupt, Interrupted
from lars_jax.train.config import replace_fields
from lars_jax.train.record import read_lines, write_text
from tests.experiments.transitive.detection.folders import write_blocks
from tests.experiments.transitive.normals.support import write_frames

DEMO = PRESETS["demo"].config


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return pictures and frames, and a cache of what is made of them."""
    root = tmp_path_factory.mktemp("data")
    frames = write_frames(root / "frames.npz", bumps=0.2)
    return write_blocks(root / "voc"), frames, root / "cache"


@pytest.fixture
def words(data, monkeypatch):
    """Return a command that learns for a moment from rendered clips."""
    voc, frames, cache = data
    monkeypatch.setenv("LARS_JAX_CACHE", str(cache))
    return [
        *("transfer", "demo", "--dataset", f"voc:{voc}", "--frames", str(frames)),
        *("--clips", "8", "--clip-frames", "40", "--width", "0.125", "--devices", "1"),
        *("--hidden", "16", "--embedding", "8", "--parents", "2", "--neighbours", "8"),
        *("--least-members", "4", "--steps", "2", "--context-steps", "2"),
        *("--detector-steps", "2", "--normals-steps", "2", "--seeds", "1"),
        # Optax's Adam mixes types, which tests forbid.
        *("--frozen", "3", "--optimizer", "sgd", "--context-optimizer", "sgd"),
    ]


def test_every_other_column_and_row_is_run_once():
    cells = [cell for n in (1, 2, 3, 5) for cell in TABLES[n].cells([0, 3, 5])]
    # Four and four methods with Ours in both, five of three columns, four of normals.
    assert (len(cells), len(set(cells))) == (4 + 4 + 15 + 4, 26)
    made = {"Vid-Edge", "ImageNet"}.union(*(TABLES[n].published for n in TABLES))
    assert made - set(METHODS) == {"Vid-Edge", "ImageNet"}


def test_table_has_means_of_seeds_beside_the_papers_numbers():
    def row(method, frozen, seed, ap50):
        cell = {"task": "faster", "frozen": frozen, "method": method, "seed": seed}
        return cell | {"evaluation": {"ap50": ap50}}

    found = [row("Ours", 0, 0, 0.4), row("Ours", 0, 1, 0.6), row("Ours", 3, 0, 0.25)]
    other = row("Ours", 0, 2, 0.9) | {"task": "fast"}
    lines = markdown(3, [*found, other]).splitlines()
    assert lines[2].startswith("| | paper all | paper >c1 |")
    ours = next(line for line in lines if line.startswith("| Ours"))
    cells = [cell.strip() for cell in ours.split("|")[2:-1]]
    assert cells[:6] == ["65.0", "64.5", "63.6", "60.4", "55.7", "43.1"]
    # The deviation of 40 and 60 is the root of 200.
    assert cells[6] == "50.0 (14.1, n 2)"
    assert cells[7:] == ["not run", "not run", "25.0 (n 1)", "not run", "not run"]
    scratch = next(line for line in lines if line.startswith("| Scratch"))
    assert scratch.split("|")[2:8] == ["  "] * 6


def test_runs_begin_with_what_was_learned_as_it_was_shown(tmp_path):
    config = replace_fields(DEMO, network="vgg16", width=0.25)
    context = replace_fields(config, init="context")
    file, plan = tmp_path / "weights.safetensors", Plan(detector_steps=30)

    def made(config, cell, weights=file):
        return task_config(config, plan, cell, 4, weights)

    own = made(config, ("faster", 3, "Ours"))
    assert (own.model.detector, own.model.frozen) == ("faster", "conv3_3")
    assert (own.model.network, own.model.width, own.seed) == ("vgg16", 0.25, 4)
    assert own.model.init_from == str(file)
    assert (own.steps, own.optimizer.drop_every, own.eval_every) == (30, 20, 30)
    shown = {
        "drawn": made(config, ("normals", 0, "Tracking")).model.shown_rms,
        "from context": made(context, ("normals", 0, "Tracking")).model.shown_rms,
        "context": made(config, ("normals", 0, "Context")).model.shown_rms,
        "nothing": made(context, ("normals", 0, "Scratch")).model.shown_rms,
    }
    assert shown == {"drawn": 1, "from context": 50, "context": 50, "nothing": 1}


@pytest.mark.parametrize("name", PRESETS)
def test_every_row_is_of_another_network(name):
    rows = [method.learned(PRESETS[name].config) for method in METHODS.values()]
    assert all(one != other for one, other in itertools.combinations(rows, 2))


@pytest.mark.parametrize("task", ["fast", "normals"])
def test_what_is_drawn_is_scaled_as_what_is_learned(task, tmp_path):
    config = replace_fields(DEMO, width=0.125)
    file = pretrain(config, "Scratch", 3, tmp_path, Interrupt(), print)
    model = task_config(config, Plan(), (task, 0, "Scratch"), 3, file).model
    like, _ = trunk_network(config.model).init(
        jax.random.key(3), jnp.zeros((1, 32, 32, 3))
    )
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), np.uint8)
    np.testing.assert_array_equal(
        load_trunk(model, like)["conv2_1"]["kernel"], like["conv2_1"]["kernel"]
    )
    scaled = pretrained_trunk(model, like, images)
    network = vgg16("conv4_1", blocks=BLOCKS["small"], width=0.125)
    statistics = known_statistics("imagenet2012")
    assert statistics is not None
    shown, _ = network.apply(scaled, {}, normalize(jnp.asarray(images), *statistics))
    assert np.sqrt(np.mean(np.square(shown))) == pytest.approx(1, abs=1e-4)


def fake_runs(monkeypatch, ending=lambda: None):
    """Have runs last no time; return the folders of checkpoints that they leave."""
    left = []

    def train(experiment, config, run, **options):
        make_directory(run / "checkpoints")
        write_text(run / "metrics.jsonl", json.dumps({"step": 0}) + "\n")
        left.append(run / "checkpoints")
        ending()
        return Outcome(0, 2, {"ap50": 0.5})

    monkeypatch.setattr(runs, "train", train)
    monkeypatch.setattr(runs, "pretrain", lambda *arguments: None)
    return left


def test_run_that_ends_as_a_signal_comes_is_kept(data, tmp_path, monkeypatch):
    plan = Plan((2,), dataset=f"voc:{data[0]}", frames=str(data[1]))
    left = fake_runs(monkeypatch, lambda: signal.raise_signal(signal.SIGTERM))
    with Interrupt() as interrupt, pytest.raises(Interrupted):
        run_transfer(DEMO, plan, tmp_path, interrupt=interrupt)
    (row,) = read_lines(tmp_path / "results.jsonl")
    assert (row["method"], row["evaluation"]) == ("Ours", {"ap50": 0.5})
    assert not left[0].exists()


def test_tables_have_what_another_plan_has_run(data, tmp_path, monkeypatch):
    fake_runs(monkeypatch)
    plan = Plan((3,), 2, (3,), dataset=f"voc:{data[0]}", frames=str(data[1]))
    run_transfer(DEMO, plan, tmp_path, interrupt=Interrupt())
    less = replace(plan, seeds=1, frozen=(0,))
    found = run_transfer(DEMO, less, tmp_path, interrupt=Interrupt())
    assert write_tables(less, found, tmp_path).count("n 2)") == 5 * 2


@pytest.mark.parametrize(
    ("flags", "said"),
    {
        "no table": (["--tables"], "tables are some, each of them once; got none"),
        "twice": (["--tables", "1", "1"], "each of them once; got 1 1"),
        "coco": (["--tables", "4"], "tables"),
        "too deep": (["--tables", "3", "--frozen", "5"], "which has 4; got 5"),
        "pictures": (["--dataset", "raccoon"], "dataset is voc:PATH"),
        "none": (["--dataset", "voc:/nowhere"], "/nowhere"),
        "frames": (["--frames", "/nowhere.npz"], "/nowhere.npz"),
        "no frames": (["--frames", "/"], "holds .npz archives; / has none"),
        "splits": (["--frames", "/nowhere.mat"], "set --splits"),
        "mat": (["--frames", "/no.mat", "--splits", "/no.npz"], "/no.mat could not"),
        "steps": (["--detector-steps", "0"], "detector"),
        "seeds": (["--seeds", "0"], "seeds"),
        "one network": (["--transitive-share", "0"], "for Tracking and Ours"),
        "clips": (["--videos", "film"], "videos must be demo"),
        "no clips": (["--videos", "folder:/nowhere"], "/nowhere"),
        "half tracks": (
            ["--videos", "eth80:a.npz", "--tables", "2"],
            "15-frame is of tracks half as long, which photographs have not; got eth80",
        ),
    }.values(),
)
def test_what_cannot_run_is_one_line(words, tmp_path, capsys, flags, said):
    status = main([*words, *flags, "--run-dir", str(tmp_path / "run")])
    lines = capsys.readouterr().err.splitlines()
    assert status == 2
    assert said in lines[-1]
    assert not any("Traceback" in line for line in lines)


def test_nothing_begins_after_the_time_that_was_given(words, tmp_path, capsys):
    run = tmp_path / "run"
    own = [*words, "--tables", "1", "--hours", "1e-9", "--run-dir", str(run)]
    assert main(own) == 0
    assert capsys.readouterr().out.count("not run") == 6
    assert not (run / "results.jsonl").exists()


def test_directory_is_of_one_set_of_data_and_presets(words, data, tmp_path, capsys):
    voc, run = tmp_path / "voc", tmp_path / "run"
    shutil.copytree(data[0], voc)
    own = [*words, "--dataset", f"voc:{voc}", "--hours", "1e-9", "--run-dir", str(run)]
    assert main([*own, "--tables", "1"]) == 0
    # Table 5 reads what Table 1 does not.
    assert main([*own, "--tables", "5"]) == 0
    begun = json.loads((run / "config.json").read_text())
    assert set(begun["data"]) == {"videos", "fast", "normals"}

    def refused(change, said):
        (run / "config.json").write_text(json.dumps(begun | change))
        assert main([*own, "--tables", "1"]) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert f"holds others ({said}" in last

    other = copy.deepcopy(begun["presets"])
    other["fast"]["optimizer"]["learning_rate"] = 1.0
    refused({"presets": other}, "presets.fast.optimizer.learning_rate: 1.0 ->")
    names = voc / "ImageSets" / "Main" / "test.txt"
    names.write_text(names.read_text().splitlines()[0])
    refused({}, "data.fast: ")
    # One that is older does not say what its data and presets were.
    older = {name: begun[name] for name in ("config", "plan", "environment")}
    del older["config"]["seed"], older["plan"]["splits"], older["plan"]["tables"]
    (run / "config.json").write_text(json.dumps(older))
    assert main([*own, "--tables", "1"]) == 0
    assert "fast" in json.loads((run / "config.json").read_text())["data"]


@pytest.mark.slow
def test_tables_from_video_to_detection_and_normals(words, tmp_path, capsys):
    run = tmp_path / "run"
    # Every method, and each of the two kinds of tasks.
    own = [*words, "--tables", "2", "5", "--run-dir", str(run)]
    assert main(own) == 0
    tables = capsys.readouterr().out
    assert tables == (run / "tables.md").read_text()
    rows = list(read_lines(run / "results.jsonl"))
    assert len(rows) == 4 + 4
    assert all(
        0 <= r["evaluation"]["ap50"] <= 1 for r in rows if r["task"] != "normals"
    )
    assert "baseline/mean_normal/mean" in rows[-1]["baseline"]
    kept = {path.stem for path in (run / "pretrained").iterdir()}
    assert kept == {f"{name}-seed-0" for name in METHODS}
    begun = json.loads((run / "fast" / "Ours-c0-seed-0" / "config.json").read_text())
    weights = begun["config"]["model"]["init_from"]
    assert weights == str(run / "pretrained" / "Ours-seed-0.safetensors")
    # A row that a crash cut short is run again, and no other.
    lines = (run / "results.jsonl").read_text().splitlines(keepends=True)
    (run / "results.jsonl").write_text("".join(lines[:-1]) + lines[-1][:20])
    assert main(own) == 0
    again = list(read_lines(run / "results.jsonl"))
    assert again == rows
    assert "seconds" not in rows[0]
    # What is there is shown though no run may begin, of what is asked for alone.
    capsys.readouterr()
    assert main([*own, "--hours", "1e-9", "--tables", "5", "1"]) == 0
    shown = capsys.readouterr().out
    assert shown.index("Table 5") < shown.index("Table 1")
    assert shown.count("(n 1)") == 4 * 5 + 1
    assert main([*own, "--detector-steps", "3"]) == 2
    assert "name another --run-dir" in capsys.readouterr().err
