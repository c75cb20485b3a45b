import jax
import jax.numpy as jnp
import numpy as np

from lars_jax.data import ResidentImages

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 5, 4, 3), np.uint8)


def test_images_are_those_of_the_array_inside_and_outside_a_step():
    images = ResidentImages.of(PIXELS)
    index = np.array([[3, 0], [6, 3]], np.int32)
    np.testing.assert_array_equal(images[index], PIXELS[index])
    taken = jax.jit(lambda images, index: images[index])(images, index)
    np.testing.assert_array_equal(taken, PIXELS[index])


def test_a_step_is_given_rows_and_the_shape_of_an_image():
    images = jax.device_put(ResidentImages.of(PIXELS))
    (rows,) = jax.tree.leaves(images)
    assert (rows.shape, rows.dtype, len(images)) == ((7, 60), jnp.uint8, 7)
    like = ResidentImages.like(7, (5, 4, 3))
    assert jax.tree.structure(like) == jax.tree.structure(images)
    assert jax.eval_shape(lambda images: images[jnp.arange(2)], like).shape == (
        *(2, 5, 4, 3),
    )
