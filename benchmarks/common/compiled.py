"""What can be told of a compiled program without running it."""

import time
from collections.abc import Callable
from typing import Any

import jax

from benchmarks.common.rounds import summary
from lars_jax.compiler.hlo import parse_module


def compile_afresh(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    *,
    donate: tuple[int, ...] = (),
    times: int = 3,
) -> tuple[Any, dict[str, Any]]:
    """Trace and compile a function several times, with no cache, and tell the facts.

    Args:
        function: to be compiled.
        arguments: arrays or `jax.ShapeDtypeStruct`.
        donate: positions of the arguments whose memory the results may take.
        times: how often, at least once.
    """
    traced, compiled_in, compiled_cpu = [], [], []
    compiled: Any = None
    for _ in range(times):
        jax.clear_caches()
        started = time.perf_counter()
        # A new function each time, or its last trace would be found.
        fresh = jax.jit(lambda *args: function(*args), donate_argnums=donate)
        lowered = fresh.lower(*arguments)
        traced.append(time.perf_counter() - started)
        started, cpu = time.perf_counter(), time.process_time()
        compiled = lowered.compile()
        compiled_in.append(time.perf_counter() - started)
        compiled_cpu.append(time.process_time() - cpu)
    memory = compiled.memory_analysis()
    arguments_and_results = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
    )
    return compiled, {
        "trace_seconds": summary(traced),
        "compile_seconds": summary(compiled_in),
        "compile_cpu_seconds": summary(compiled_cpu),
        "modelled_bytes": compiled.cost_analysis().get("bytes accessed", 0.0),
        "argument_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "peak_bytes": arguments_and_results + memory.temp_size_in_bytes,
        "kernels": kernels(compiled.as_text()),
    }


def kernels(text: str) -> int:
    """Return how many instructions of a compiled program launch something.

    Those within fusions and reductions are part of a kernel, and those in the branches
    of a conditional do not run in every step; neither is counted. What a loop runs is
    counted once.

    >>> kernels('''HloModule example
    ... %fused (p: f32[2]) -> f32[2] {
    ...   %p = f32[2]{0} parameter(0)
    ...   ROOT %n = f32[2]{0} negate(%p)
    ... }
    ... ENTRY %main (a: f32[2]) -> (f32[2], f32[2]) {
    ...   %a = f32[2]{0} parameter(0)
    ...   %f = f32[2]{0} fusion(%a), kind=kLoop, calls=%fused
    ...   %c = f32[2]{0} copy(%f)
    ...   ROOT %t = (f32[2]{0}, f32[2]{0}) tuple(%f, %c)
    ... }
    ... ''')
    2
    """
    return sum(not launch.in_branch for launch in parse_module(text).launches())
