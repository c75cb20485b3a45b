import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from experiments.transitive.config import ModelConfig
from experiments.transitive.context_network import (
    context_losses,
    context_network,
    convolutions,
    drop_colours,
    noisy_pairs,
    norm_convolutions,
)
from experiments.transitive.networks import clean_patches, scale_rms
from lars_jax.errors import InputError
from lars_jax.models import vgg16
from tests.models.support import abstract, count, drawn, jitted

NARROW = ModelConfig(width=1 / 16)


def patches(*shape, seed=0):
    numbers = np.random.default_rng(seed)
    return jnp.asarray(numbers.integers(0, 256, shape, dtype=np.uint8))


def test_one_colour_stays_and_the_others_become_uniform_noise():
    patch = patches(16, 16, 3)
    centred = np.asarray(patch, np.float32)
    centred = centred - centred.mean(axis=(0, 1))
    dropped = jax.jit(jax.vmap(lambda key: drop_colours(key, patch)))
    found = np.asarray(dropped(jax.random.split(jax.random.key(0), 600)))
    kept = np.abs(found).max(axis=(1, 2)) > 0.5
    assert (kept.sum(axis=1) == 1).all()
    assert stats.chisquare(kept.sum(axis=0)).pvalue > 1e-4
    place = kept.argmax(axis=1)
    chosen = np.take_along_axis(found, place[:, None, None, None], -1)
    expected = np.moveaxis(centred[..., place], -1, 0)[..., None]
    np.testing.assert_allclose(chosen, expected, atol=1e-4)
    noise = np.moveaxis(found, -1, 1)[~kept].ravel()[::10]
    assert stats.kstest(noise, "uniform", args=(-0.5, 1.0)).pvalue > 1e-4


def test_every_patch_is_scaled_to_the_same_root_mean_square():
    scaled = scale_rms(patches(3, 8, 8, 3).astype(jnp.float32))
    found = jnp.sqrt(jnp.mean(scaled**2, axis=(1, 2, 3)))
    np.testing.assert_allclose(found, 50.0, rtol=1e-5)
    np.testing.assert_array_equal(scale_rms(jnp.zeros((1, 2, 2, 3))), 0.0)


def test_clean_patches_keep_all_colours_and_ignore_light():
    image = patches(2, 8, 8, 3) // 4
    found = clean_patches(image)
    np.testing.assert_allclose(found.mean(axis=(1, 2)), 0.0, atol=1e-3)
    brighter = clean_patches(3 * image + 60)
    np.testing.assert_allclose(brighter, found, atol=1e-2)


def test_noise_of_a_pair_is_a_function_of_its_number():
    pairs, numbers = patches(4, 2, 8, 8, 3), jnp.arange(4)
    noisy = jax.jit(noisy_pairs)
    whole = noisy(jax.random.key(0), pairs, numbers)
    part = noisy(jax.random.key(0), pairs[2:], numbers[2:])
    np.testing.assert_array_equal(part, whole[2:])
    # Pairs are drawn apart, and so are the two patches of a pair.
    alike = jnp.tile(pairs[:1, :1], (4, 2, 1, 1, 1))
    found = noisy(jax.random.key(1), alike, numbers).reshape(8, -1)
    assert len(np.unique(found, axis=0)) == 8


def test_full_width_has_the_parameters_of_its_layers():
    params, _ = abstract(context_network(ModelConfig()), 1, 2, 96, 96, 3)
    sizes = {name: count(leaf) for name, leaf in params["joint"].items()}
    assert count(params["tower"]["trunk"]) == 14_714_688
    assert count(params["tower"]["head"]) == 18_878_464
    assert sizes == {
        "fc7": 8192 * 4096 + 4096,
        "fc8": 4096 * 4096 + 4096,
        "fc9": 4096 * 8 + 8,
    }


@pytest.mark.slow
def test_towers_share_their_weights_and_folding_keeps_what_they_see():
    network = context_network(NARROW)
    pairs = scale_rms(patches(3, 2, 32, 32, 3).astype(jnp.float32))
    params, state = drawn(*network.init(jax.random.key(0), pairs))
    # Without the first half of fc7 nothing of the first patch is left.
    kernel = params["joint"]["fc7"]["kernel"]
    half = kernel.at[: len(kernel) // 2].set(0.0)
    params["joint"]["fc7"]["kernel"] = half
    apply = jitted(network).apply
    logits, _ = apply(params, state, pairs)
    params["joint"]["fc7"]["kernel"] = jnp.roll(half, len(kernel) // 2, axis=0)
    swapped, _ = apply(params, state, pairs[:, ::-1])
    assert logits.shape == (3, 8)
    np.testing.assert_allclose(swapped, logits, rtol=1e-4, atol=1e-6)

    tower = jitted(vgg16(width=NARROW.width, norm_layers=norm_convolutions(NARROW)))
    trunk, plain = params["tower"]["trunk"], jitted(vgg16(width=NARROW.width))
    expected, _ = tower.apply(trunk, state["tower"]["trunk"], pairs[:, 0])
    found, _ = plain.apply(convolutions(params, state), {}, pairs[:, 0])
    scale = float(jnp.abs(expected).max())
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-5)


def test_first_loss_is_that_of_chance():
    logits = jnp.zeros((4, 8))
    losses, right = context_losses(logits, jnp.array([0, 3, 7, 0]))
    np.testing.assert_allclose(losses, np.log(8), rtol=1e-6)
    assert right.tolist() == [True, False, False, True]


def test_patches_that_are_no_pairs_are_refused():
    with pytest.raises(InputError, match=r"pairs of patches .* got \[4, 32, 32, 3\]"):
        abstract(context_network(NARROW), 4, 32, 32, 3)
