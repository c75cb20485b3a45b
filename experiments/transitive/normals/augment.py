"""Variation of photographs together with their normals, on the device.

What happens to an example is a function of its key alone (`example_keys` of
`lars_jax.data.augment`), so it is the same for every batch size.
"""

from functools import partial

import jax
import jax.numpy as jnp

from lars_jax.errors import InputError


def mirror_normals(normals: jax.Array) -> jax.Array:
    """Return normals of the mirrored image: columns reversed, x with its sign changed.

    Labels of codewords are to be found from these anew: the mirror image of a codeword
    is in general none.

    Args:
        normals: float [..., H, W, 3].

    Returns:
        The same shape and type.

    >>> normals = jnp.array([[[1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]])
    >>> print(mirror_normals(normals)[0] + 0.0)
    [[ 0. -1.  0.]
     [-1.  0.  0.]]
    """
    return normals[..., ::-1, :].at[..., 0].multiply(-1)


@partial(jax.jit, static_argnames=("flip", "strength"))
def vary(
    images: jax.Array,
    normals: jax.Array,
    valid: jax.Array,
    keys: jax.Array,
    *,
    flip: bool = True,
    strength: float = 0.0,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mirror half of the examples, and scale the colours of each.

    Each channel is multiplied by a factor e^v of its own, v uniform in
    [-strength, strength], and cut off at 255.

    Args:
        images: uint8 or float [B, H, W, 3], 0 to 255.
        normals: float32 [B, H, W, 3].
        valid: bool [B, H, W].
        keys: keys [B], one per example.
        flip: mirror left to right with probability one half.
        strength: of the scaling; 0 changes no colour.

    Returns:
        images, float32; normals; and valid, of the same shapes.

    Raises:
        InputError: other shapes, or a negative strength.

    >>> keys = jax.random.split(jax.random.key(0), 2)
    >>> images, normals = jnp.full((2, 4, 4, 3), 100.0), jnp.ones((2, 4, 4, 3))
    >>> valid = jnp.ones((2, 4, 4), bool)
    >>> varied, turned, _ = vary(images, normals, valid, keys, strength=0.2)
    >>> print(varied[0, 0, 0].round(1), turned[:, 0, 0, 0])
    [85.4 94.  86.3] [-1.  1.]
    """
    _check(images, normals, valid, strength)

    def one(
        image: jax.Array, normal: jax.Array, known: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        flip_key, colour_key = jax.random.split(key)
        if flip:
            mirror = jax.random.bernoulli(flip_key)
            image = jnp.where(mirror, image[:, ::-1], image)
            known = jnp.where(mirror, known[:, ::-1], known)
            normal = jnp.where(mirror, mirror_normals(normal), normal)
        if strength:
            draws = jax.random.uniform(colour_key, (1, 1, 3), jnp.float32, -1, 1)
            image = jnp.clip(image * jnp.exp(draws * strength), 0.0, 255.0)
        return image, normal, known

    return jax.vmap(one)(images.astype(jnp.float32), normals, valid, keys)


def encode_normals(normals: jax.Array, codebook: jax.Array) -> jax.Array:
    """Return the nearest codeword of each normal, as `codebook.encode` on the host.

    Args:
        normals: float32 [..., 3].
        codebook: float32 [K, 3].

    Returns:
        int32 [...], the first of equals.

    >>> print(encode_normals(jnp.array([0.0, 0.6, -0.8]), -jnp.eye(3)))
    2
    """
    # At the default precision an accelerator would round normals to 8 bits.
    cosine = jnp.einsum(
        "...c,kc->...k", normals, codebook, precision=jax.lax.Precision.HIGHEST
    )
    return jnp.argmax(cosine, axis=-1).astype(jnp.int32)


def _check(
    images: jax.Array, normals: jax.Array, valid: jax.Array, strength: float
) -> None:
    whole = images.ndim == 4 and images.shape[-1] == 3
    if not whole or normals.shape != images.shape or valid.shape != images.shape[:-1]:
        raise InputError(
            "images and normals are [B, H, W, 3] with masks [B, H, W]; got "
            f"{list(images.shape)}, {list(normals.shape)} and {list(valid.shape)}: "
            "give one of each"
        )
    if not strength >= 0:
        raise InputError(
            f"the strength of colour scaling is at least 0; got {strength}: set 0 for "
            "none"
        )
