"""Every named game can run, and is what it stands for."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.mgan.check import check, resolve_devices
from experiments.mgan.config import Config
from experiments.mgan.experiment import main
from experiments.mgan.game import make_players, make_step
from experiments.mgan.inputs import load_inputs
from experiments.mgan.presets import PRESETS, get_preset
from experiments.mgan.show import describe, state_shapes
from lars_jax.data import digits_source
from lars_jax.train.config import digest, from_json, replace_fields, to_json
from tests.cases import mostly_slow

IMAGES = ("digits_gan", "cifar10", "stl10")
"""Games of images whose networks differ in more than numbers."""


def test_every_preset_can_run_and_is_read_back_as_it_was_written():
    for name, preset in PRESETS.items():
        config = get_preset(name).config
        assert preset.name == name
        assert check(config) is config
        assert from_json(Config, to_json(config)) == config
        for devices in (1, 2, 4):
            assert resolve_devices(config, devices) == devices


def test_no_two_presets_are_the_same_game():
    digests = [digest(preset.config) for preset in PRESETS.values()]
    assert len(set(digests)) == len(PRESETS)


def test_show_tells_what_a_preset_is(capsys):
    assert main(["show", "ring", "--batch", "64"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("ring: Section 5.1, Figure 2; expected all 8 modes by")
    assert "batch                          64\n" in said
    assert re.search(r"network/first/bias +\(8, 128\) +1,024\n", said)
    assert main(["show", "digits"]) == 0
    said = capsys.readouterr().out
    assert "images of 1 channel\n" in said
    assert re.search(r"network/output/bias +\(1,\) +1\n", said)


@pytest.mark.parametrize(
    ("name", "generators", "judge"),
    [("ring", "279,938", "1,545"), ("cifar10", "12,544,131", "4,198,411")],
)
def test_networks_have_the_parameters_of_the_authors_programs(name, generators, judge):
    said = "\n".join([*describe(get_preset(name).config), ""])
    assert re.search(rf"parameters of generators +{generators}\n", said)
    assert re.search(rf"of discriminator and classifier +{judge}\n", said)


@pytest.mark.parametrize("verb", ["eval", "samples", "compare"])
def test_own_verbs_have_help(verb, capsys):
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    said = capsys.readouterr().out
    assert said.startswith(f"usage: python -m experiments.mgan {verb}")
    assert {"eval": "--features", "samples": "--no-average", "compare": "--seeds"}[
        verb
    ] in said


@pytest.mark.parametrize(
    "name", mostly_slow({name: (name,) for name in IMAGES}, ("digits_gan", "cifar10"))
)
def test_full_size_step_keeps_every_shape_of_the_state(name):
    config = get_preset(name).config
    channels = 1 if config.data.dataset == "digits" else 3
    size = config.data.image_size
    shape = (config.batch, size, size, channels)
    before = state_shapes(config, channels)
    step = make_step(
        config, make_players(config, channels), lambda *_: jnp.zeros(shape)
    )
    shared = {"key": jax.eval_shape(lambda: jax.random.key(0))}
    after, metrics = jax.eval_shape(lambda s, k: step(s, {}, k), before, shared)
    assert after == before
    assert metrics["loss"].shape == ()
    names = len(jax.tree.leaves(before.judge.params))
    names += len(jax.tree.leaves(before.generators.params))
    assert metrics["nonfinite"].shape == (names,)


@pytest.mark.parametrize(
    ("name", "size", "stages", "smallest"),
    [("cifar10", 32, 3, 4), ("stl10", 48, 4, 3), ("imagenet32", 32, 3, 4)],
)
def test_networks_end_at_a_few_pixels(name, size, stages, smallest):
    config = get_preset(name).config
    assert (config.data.image_size, config.model.stages) == (size, stages)
    state = state_shapes(config)
    width = config.model.width * 2 ** (stages - 1)
    kernel = state.judge.params["discriminator"]["kernel"]
    assert kernel.shape == (smallest**2 * width, 1)


def test_cifar10_has_the_numbers_of_the_authors_program():
    config = get_preset("cifar10").config
    rules, optimizer, model = config.rules, config.optimizer, config.model
    assert (rules.game, rules.generators, rules.mixture) == ("mgan", 10, "fixed")
    assert (rules.diversity, rules.classifier_weight) == (0.01, 1.0)
    assert (rules.generator_loss, rules.noise_of_step) == ("nonsaturating", "shared")
    assert (config.batch, config.fakes) == (64, 12)
    assert config.steps == 500 * 781 == 390_500
    assert (model.noise, model.noise_size, model.width) == ("uniform", 100, 128)
    assert model.init_deviation == 0.02
    assert optimizer.optimizer == "adam"
    assert optimizer.generator_optimizer is None
    assert (optimizer.generator_rate, optimizer.discriminator_rate) == (2e-4, 2e-4)
    assert (optimizer.momentum, optimizer.second_momentum) == (0.5, 0.999)
    assert (optimizer.warmup_steps, optimizer.decay_from) == (0, 1.0)


def test_ring_has_the_numbers_of_the_paper():
    config = get_preset("ring").config
    data, rules, model = config.data, config.rules, config.model
    assert (data.dataset, data.modes, data.extent) == ("ring", 8, 2.0)
    assert data.variance == 0.02
    assert (rules.generators, rules.diversity, rules.classifier_weight) == (8, 0.125, 1)
    assert (config.batch, config.fakes, config.steps) == (512, 128, 25_000)
    assert (model.noise, model.noise_size, model.width) == ("normal", 256, 128)
    assert config.eval_samples == 10_000


@pytest.mark.parametrize(("name", "beta"), [("stl10", 1.0), ("imagenet32", 0.1)])
def test_other_images_differ_from_cifar10_in_beta_and_data_alone(name, beta):
    ours, theirs = get_preset(name).config, get_preset("cifar10").config
    assert ours.rules.diversity == beta
    same = replace_fields(ours, diversity=0.01, stages=3)
    same = replace_fields(same, **vars(theirs.data))
    assert same == theirs


@pytest.mark.parametrize("name", ["digits", "cifar10", "cifar10_small"])
def test_one_generator_makes_as_many_samples_as_ten_together(name):
    ours, theirs = get_preset(name).config, get_preset(f"{name}_gan").config
    assert theirs.fakes == ours.fakes * ours.rules.generators
    assert replace_fields(theirs, fakes=ours.fakes, generators=10) == ours


def test_every_game_on_the_ring_sees_the_same_data():
    figure = [p for p in PRESETS.values() if p.reproduces == "Section 5.1, Figure 2"]
    assert len(figure) == 4
    for one, other in itertools.pairwise(figure):
        assert one.config.data == other.config.data
        assert one.config.batch == other.config.batch == 512
        assert one.config.steps == other.config.steps


class Unnamed:
    """The digits as STL-10 gives its unlabelled images: with a label of no class."""

    name = "stl10/unlabelled"
    class_names = ("one",)

    def __init__(self):
        self.source = digits_source("train")

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        return self.source[index][0], -1


def test_labels_of_no_class_are_no_hindrance(monkeypatch):
    monkeypatch.setattr(
        "experiments.mgan.inputs.load_source", lambda *_, **__: Unnamed()
    )
    config = replace_fields(get_preset("stl10").config, image_size=8, stages=2)
    found = load_inputs(config)
    assert (found.name, found.sample_shape) == ("stl10/unlabelled", (8, 8, 1))
    np.testing.assert_array_equal(found.image, digits_source("train").image)


def test_images_of_another_size_are_resized():
    found = load_inputs(replace_fields(get_preset("digits").config, image_size=4))
    assert found.sample_shape == (4, 4, 1)
    assert found.image is not None
    assert found.image.shape == (1437, 4, 4, 1)
