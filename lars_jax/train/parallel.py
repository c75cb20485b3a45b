"""Spread one pure step over a mesh of devices.

Under `jit` arrays are global and the compiler inserts the sums. Under `shard_map` and
`pmap` each device runs the step on its own part and `update` averages over the named
axis; `pmap` is kept because many TPU scripts still speak it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from lars_jax.cpu import COMPILER_OPTIONS
from lars_jax.errors import InputError

AXIS = "data"

Backend = Literal["jit", "shard_map", "pmap"]
Step = Callable[[Any, Any, Any], tuple[Any, Any]]
T = TypeVar("T")


def data_mesh(devices: int | None = None) -> Mesh:
    """Return a one-dimensional mesh with the axis `data`.

    Args:
        devices: how many of `jax.devices()` to use; None for all.

    Raises:
        InputError: fewer devices exist.

    >>> data_mesh(1).size
    1
    """
    available = jax.devices()
    count = len(available) if devices is None else devices
    if jax.process_count() > 1 and count != len(available):
        raise InputError(
            f"several processes use all their devices, {len(available)} in all; got "
            f"devices {devices}: leave it out, or start fewer processes"
        )
    if not 1 <= count <= len(available):
        raise InputError(
            f"devices must be between 1 and the {len(available)} that JAX sees "
            f"({available[0].platform}); got {devices}: ask for fewer, or set "
            "JAX_NUM_CPU_DEVICES for virtual ones"
        )
    return mesh_over(available[:count])


def mesh_over(devices: Sequence[Any]) -> Mesh:
    """Return the mesh with the axis `data` over devices, which need not be here.

    >>> mesh_over(jax.devices()[:1]).axis_names
    ('data',)
    """
    # Auto: operations then need no sharding types, which plain Optax losses lack.
    types = (AxisType.Auto,)
    try:
        return jax.make_mesh((len(devices),), (AXIS,), types, devices=devices)
    except (AssertionError, ValueError):
        # JAX knows no best order for several slices, or for two devices of a chip.
        return Mesh(np.asarray(devices), (AXIS,), axis_types=types)


TPU_SPLIT_OPTIONS = {
    # By default a TPU's compiler takes a product by a gathered array apart into a ring
    # of permutes that it cannot join: 44 in a step of ResNet-20, zero1 on four v5e,
    # where this leaves none.
    "xla_jf_spmd_threshold_for_windowed_einsum_mib": "1000000",
}
"""Options of `jax.jit` for a state that is split over TPUs."""


@dataclass(frozen=True)
class DataParallel:
    """A mesh and the back-end that runs steps over it."""

    mesh: Mesh
    backend: Backend = "jit"

    @property
    def axis_name(self) -> str | None:
        """The axis that a step must average over, or None where arrays are global."""
        return None if self.backend == "jit" else AXIS

    @property
    def num_devices(self) -> int:
        """Number of devices in the mesh."""
        return self.mesh.size

    @property
    def replicated(self) -> NamedSharding:
        """The sharding of an array that every device holds whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def sharded(self) -> NamedSharding:
        """The sharding of an array whose axis 0 is split over the devices."""
        return NamedSharding(self.mesh, PartitionSpec(AXIS))

    def replicate(self, tree: Any) -> Any:
        """Put a tree of arrays, the same on every process, on every device."""
        if self.replicated.is_fully_addressable:
            return jax.device_put(tree, self.replicated)
        return jax.jit(lambda tree: tree, out_shardings=self.replicated)(tree)

    def local_rows(self, batch: int) -> np.ndarray:
        """Return which examples of a batch this process must bring, int [M].

        With one process, and so one owner of all devices, these are all of them.
        """
        places = self.sharded.addressable_devices_indices_map((batch,))
        slices = [place[0] for place in places.values() if place is not None]
        parts = sorted(part.indices(batch)[:2] for part in slices)
        return np.concatenate([np.arange(*part) for part in parts])

    def shard_batch(self, batch: Any) -> Any:
        """Put a batch on the mesh as the compiled step takes it.

        Args:
            batch: tree of arrays with the examples of `local_rows` on axis 0.

        Raises:
            InputError: the number of examples is not a multiple of the devices.
        """
        local = len(self.sharded.addressable_devices)
        for leaf in jax.tree.leaves(batch):
            self.check_divides(leaf.shape[0] * self.num_devices // local)
        if self.backend == "pmap":
            batch = jax.tree.map(lambda x: x.reshape(local, -1, *x.shape[1:]), batch)
        return jax.make_array_from_process_local_data(self.sharded, batch)

    def drawn(self, draw: Callable[..., T], *arguments: Any) -> T:
        """Return what a function draws, computed whole on every device."""
        return jax.jit(draw, out_shardings=self.replicated)(*arguments)

    def shapes(self, draw: Callable[..., T], *arguments: Any) -> T:
        """Return shapes and shardings of what `drawn` would return."""
        found = jax.eval_shape(draw, *arguments)
        return jax.tree.map(lambda x: x.update(sharding=self.replicated), found)

    def placed(self, state: Any, batch: Any, shared: Any) -> tuple[Any, Any, Any]:
        """Return shapes of a step's arguments with the shardings that arrays have."""

        def put(tree: Any, sharding: NamedSharding) -> Any:
            return jax.tree.map(lambda x: x.update(sharding=sharding), tree)

        return (
            put(state, self.replicated),
            put(batch, self.sharded),
            put(shared, self.replicated),
        )

    def check_divides(self, batch: int) -> None:
        """Raise `InputError` unless every device gets the same number of examples."""
        if batch % self.num_devices:
            raise InputError(
                f"a batch must divide evenly over the devices; got {batch} examples "
                f"on {self.num_devices} devices: choose a multiple, or fewer devices"
            )

    def compile(self, step: Step, state: Any = None) -> Step:
        """Return the step over the mesh.

        Args:
            step: `(state, batch, shared) -> (state, metrics)`, pure. `batch` is split
                over the devices, `state` and `shared` are whole on each. The step must
                have been built with this object's `axis_name`.
            state: shardings of the state, as `state_shardings` returns them, under
                `jit` alone; None where it is whole on each device.

        Returns:
            A function of the same signature that takes what `replicate` and
            `shard_batch` return, or a state of these shardings, which it returns
            again. The state given to it must not be used again: its memory goes to the
            new one.

        Raises:
            InputError: shardings under `shard_map` or `pmap`.
        """
        if state is not None and self.backend != "jit":
            raise InputError(
                "a state may be sharded under the back-end jit alone, where arrays are "
                f"global; got {self.backend}: choose jit, or leave the state whole"
            )
        if self.backend == "pmap":
            return jax.pmap(
                step,
                axis_name=AXIS,
                in_axes=(None, 0, None),
                out_axes=(None, None),  # pyright: ignore[reportArgumentType]
                donate_argnums=0,
                devices=list(self.mesh.devices.flat),
            )
        if self.backend == "shard_map":
            whole, split = PartitionSpec(), PartitionSpec(AXIS)
            # With its checks on, a state that devices do not agree about is refused.
            step = jax.shard_map(
                _with_local_keys(step),
                mesh=self.mesh,
                in_specs=(whole, split, whole),
                out_specs=(whole, whole),
            )
        options = self._compiler_options(split=state is not None)
        state = self.replicated if state is None else state
        return jax.jit(
            step,
            in_shardings=(state, self.sharded, self.replicated),
            out_shardings=(state, self.replicated),
            donate_argnums=0,
            compiler_options=options,
        )

    def compile_pure(
        self, function: Callable[..., Any], state: Any = None
    ) -> Callable[..., Any]:
        """Return a function of `(state, batch, shared)` over the mesh that keeps them.

        For evaluation, which is the same under every back-end: arrays are global.

        Args:
            function: pure; what it returns is whole on every device.
            state: shardings of the state; None where it is whole.
        """
        whole = self.replicated

        def of_whole_state(given: Any, *others: Any) -> Any:
            # Left to choose, the compiler may split the network by its channels.
            return function(jax.lax.with_sharding_constraint(given, whole), *others)

        return jax.jit(
            function if state is None else of_whole_state,
            in_shardings=(
                whole if state is None else state,
                self.sharded,
                self.replicated,
            ),
            # Whole on every device, so that every process can read them.
            out_shardings=self.replicated,
        )

    def _compiler_options(self, *, split: bool) -> dict[str, str] | None:
        platform = self.mesh.devices.flat[0].platform
        if platform == "cpu":
            return COMPILER_OPTIONS
        return TPU_SPLIT_OPTIONS if platform == "tpu" and split else None


def _with_local_keys(step: Step) -> Step:
    """Return a mapped step whose random keys may vary over the devices, in their type.

    They are the same keys all the same. `jax_debug_key_reuse` takes the conversion that
    JAX would insert for a use of the key; of the key's words it is none.
    """

    def local(leaf: jax.Array) -> jax.Array:
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf
        words = jax.lax.pcast(jax.random.key_data(leaf), AXIS, to="varying")
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))

    def wrapped(state: Any, batch: Any, shared: Any) -> tuple[Any, Any]:
        return step(state, batch, jax.tree.map(local, shared))

    return wrapped
