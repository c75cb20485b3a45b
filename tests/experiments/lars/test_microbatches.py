"""The micro-batches that fit: what is chosen, what it costs, what is refused."""

from functools import cache

import jax
import numpy as np
import pytest

from experiments.lars import microbatches
from experiments.lars.check import check
from experiments.lars.config import Config
from experiments.lars.experiment import LARS
from experiments.lars.microbatches import (
    GIB,
    MOST_COMPILATIONS,
    SHARE,
    choose_microbatches,
    device_memory,
    freeze_auto,
    process_memory,
    steps_ahead,
    with_microbatches,
)
from experiments.lars.presets import get_preset
from experiments.lars.program import ImageFacts, make_network, state_shapes
from experiments.lars.shapes import Setting, assumed_facts, residual_bytes
from lars_jax import InputError
from lars_jax.train import DataParallel, data_mesh
from lars_jax.train.config import replace_fields
from lars_jax.train.parallel import Backend

PRESET = get_preset("smoke").config
SMOKE = replace_fields(PRESET, devices=1, bn_span=8)
MIB = 2**20


def setting(devices=1, backend: Backend = "jit", image=(8, 8, 1), beside=0):
    parallel = DataParallel(data_mesh(devices), backend)
    return Setting(parallel, assumed_facts(SMOKE), image, beside=beside)


# Many cases are of the same network.
shapes_of = cache(state_shapes)


@cache
def residuals_of(config, facts):
    return residual_bytes(config, facts, shapes_of(config, facts))


@pytest.fixture
def compiled(monkeypatch):
    """Let a formula stand in for the compiler, and return the parts it was asked."""
    monkeypatch.setattr(microbatches, "state_shapes", shapes_of)
    kept = lambda config, facts, state: residuals_of(config, facts)  # noqa: E731
    monkeypatch.setattr(microbatches, "residual_bytes", kept)

    def model(fixed, each, power=1.0):
        asked = []

        def found(config, setting):
            asked.append(config.parts)
            share = config.global_batch / (config.parts * setting.parallel.num_devices)
            return f"step in {config.parts}", int(fixed + each * share**power)

        monkeypatch.setattr(microbatches, "compile_step", found)
        return asked

    return model


def test_what_fits_by_its_shapes_is_not_compiled(compiled):
    asked = compiled(0, 0)
    found = choose_microbatches(
        replace_fields(SMOKE, global_batch=1024), setting(), GIB
    )
    assert found.config.parts == 1
    assert asked == []
    assert found.train_step is None
    assert 0 < found.estimate <= SHARE * GIB
    assert found.reason.startswith("1 micro-batch of 1024 examples in spans of 8")


# An example of resnet8 keeps 0.09 MiB, so a batch of 4096 some 400 MiB.
@pytest.mark.parametrize(("fixed", "power"), [(0, 1.0), (4, 1.0), (4, 1.1), (4, 0.9)])
def test_fewest_parts_that_fit_are_found(compiled, fixed, power):
    config = replace_fields(SMOKE, global_batch=4096)
    limit = 60 * MIB
    for each in (0.02, 0.07, 0.09, 0.15, 0.6):
        asked = compiled(fixed * MIB, each * MIB, power)
        found = choose_microbatches(config, setting(image=None), limit)
        sizes = {
            parts: fixed * MIB + each * MIB * (4096 / parts) ** power
            for parts in (2**n for n in range(10))
        }
        fewest = min(parts for parts, size in sizes.items() if size <= SHARE * limit)
        assert found.config.parts == fewest
        assert found.train_step == f"step in {fewest}"
        assert found.estimate == found.compiled[fewest] <= SHARE * limit
        assert asked == list(found.compiled)
        assert len(asked) <= MOST_COMPILATIONS


def test_search_among_many_divisors_compiles_few(compiled):
    config = replace_fields(SMOKE, network="alexnet", global_batch=5040)
    for each in np.linspace(0.1, 3, 30):
        asked = compiled(30 * MIB, each * MIB, 1.1)
        found = choose_microbatches(config, setting(image=None), 400 * MIB)
        parts = found.config.parts
        assert found.compiled[parts] <= SHARE * 400 * MIB
        assert len(asked) <= MOST_COMPILATIONS
        # Close to the limit the last few are left, and never a large difference.
        slack = 0.0 if len(asked) < MOST_COMPILATIONS else 0.2
        fewer = max(n for n in range(1, parts) if 5040 % n == 0)
        least = 30 * MIB + each * MIB * (5040 / fewer) ** 1.1
        assert least * (1 + slack) > SHARE * 400 * MIB


def test_same_arguments_give_the_same_choice(compiled):
    compiled(MIB, 0.1 * MIB)
    config = replace_fields(SMOKE, global_batch=4096)
    one, two = (choose_microbatches(config, setting(), 60 * MIB) for _ in range(2))
    assert one == two


@pytest.mark.parametrize(
    ("span", "each", "parts"),
    # Shares of a device: 128 whole, then 64 and 32. What cuts a span comes last.
    [(32, 0.06, 4), (32, 0.2, 8), (128, 0.06, 4), (128, 0.02, 1)],
)
def test_devices_hold_whole_spans_where_that_fits(compiled, span, each, parts):
    compiled(0, each * MIB)
    config = replace_fields(SMOKE, global_batch=1024, bn_span=span, devices=8)
    found = choose_microbatches(config, setting(8, image=None), 4 * MIB)
    assert found.config.parts == parts


@pytest.mark.parametrize(
    ("changes", "devices", "parts"),
    [
        ({"bn_span": "global"}, 1, [1]),
        ({"bn_span": 64}, 1, [1]),
        ({"bn_span": 16}, 1, [1, 2, 4]),
        ({"bn_span": 16}, 4, [1, 2, 4]),
        ({"bn_span": 16, "backend": "shard_map"}, 4, [1]),
        ({"bn_span": 4, "backend": "pmap"}, 8, [1, 2]),
        ({"bn_span": "per_device"}, 8, [1, 2, 4, 8]),
        ({"network": "alexnet", "bn_span": "global"}, 16, [1, 2, 4]),
    ],
)
def test_parts_cut_no_span_and_no_share(changes, devices, parts):
    config = replace_fields(SMOKE, global_batch=64, **changes)
    found = sum(microbatches._legal_parts(config, devices), [])
    assert sorted(found) == parts


@pytest.mark.parametrize("global_batch", [60, 4])
def test_batch_that_devices_cannot_share_is_refused(compiled, global_batch):
    asked = compiled(0, 0)
    config = replace_fields(SMOKE, global_batch=global_batch, bn_span="global")
    with pytest.raises(InputError, match=f"got {global_batch} for 1 x 8: set --glob"):
        choose_microbatches(config, setting(8), GIB)
    assert asked == []


def test_nothing_fits_says_how_much_is_missing(compiled):
    compiled(2 * MIB, MIB)
    with pytest.raises(
        InputError, match=r"8 examples in spans of 8 over 1 device:"
    ) as no:
        choose_microbatches(
            replace_fields(SMOKE, global_batch=256), setting(), 10 * MIB
        )
    assert "got 0.01 of 0.01 GiB for its compiled step" in str(no.value)
    assert "\n" not in str(no.value)


def test_step_that_the_compiler_refuses_is_cut_further(compiled, monkeypatch):
    asked = compiled(2 * MIB, MIB)
    formula = microbatches.compile_step

    def refusing(config, setting):
        step, size = formula(config, setting)
        if size > 20 * MIB:
            raise jax.errors.JaxRuntimeError(
                f"RESOURCE_EXHAUSTED: Used {size / MIB:.2f}M of 20.00M hbm."
            )
        return step, size

    monkeypatch.setattr(microbatches, "compile_step", refusing)
    config = replace_fields(SMOKE, global_batch=256)
    choice = choose_microbatches(config, setting(), int(20 * MIB / SHARE))
    assert choice.config.microbatches == 16
    assert max(choice.compiled.values()) > 20 * MIB
    assert len(asked) > 1

    def broken(config, setting):
        raise jax.errors.JaxRuntimeError("INTERNAL: no such instruction")

    monkeypatch.setattr(microbatches, "compile_step", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        choose_microbatches(config, setting(), int(20 * MIB / SHARE))


def test_what_lies_on_a_device_counts(compiled):
    asked = compiled(0, 0.05 * MIB)
    config = replace_fields(SMOKE, global_batch=1024)
    free = choose_microbatches(config, setting(), 60 * MIB)
    full = choose_microbatches(config, setting(beside=40 * MIB), 60 * MIB)
    assert full.config.parts > free.config.parts
    asked.clear()
    with pytest.raises(InputError, match="state, data and batch"):
        choose_microbatches(config, setting(beside=60 * MIB), 60 * MIB)
    assert asked == []


def test_global_span_that_does_not_fit_is_refused_with_a_way_out(compiled):
    compiled(0, MIB)
    config = replace_fields(SMOKE, global_batch=1024, bn_span="global")
    with pytest.raises(InputError, match="in spans of 1024 .*set .*--bn-span or"):
        choose_microbatches(config, setting(), 60 * MIB)


def test_queue_of_large_batches_is_short():
    large, small = setting(8, image=(224, 224, 3)), setting(8, image=None)
    assert steps_ahead(large, 65536) == 1
    assert steps_ahead(large, 32768) == 1
    assert steps_ahead(large, 8192) == 6
    assert steps_ahead(small, 65536) == 8


def test_memory_of_a_device_is_what_the_configuration_says():
    config = replace_fields(SMOKE, device_memory=1.5)
    assert device_memory(config, DataParallel(data_mesh(8))) == 1.5 * GIB


def test_cpu_devices_share_what_the_process_may_take(monkeypatch):
    monkeypatch.setattr(microbatches, "process_memory", lambda: 27 * GIB)
    assert device_memory(SMOKE, DataParallel(data_mesh(1))) == 27 * GIB
    assert device_memory(SMOKE, DataParallel(data_mesh(8))) == 3 * GIB
    monkeypatch.setattr(microbatches, "process_memory", lambda: 4 * GIB)
    assert device_memory(SMOKE, DataParallel(data_mesh(8))) == GIB // 2


@pytest.mark.parametrize(
    ("line", "place", "names"),
    [
        ("0::/outer/inner\n", "", ("memory.max", "memory.current")),
        (
            "5:cpu:/\n4:cpuset,memory:/outer/inner\n",
            "memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ),
    ],
)
def test_least_of_machine_and_control_groups_is_left(tmp_path, line, place, names):
    assert process_memory(tmp_path) == GIB
    (tmp_path / "proc/self").mkdir(parents=True)
    meminfo = "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n"
    (tmp_path / "proc/meminfo").write_text(meminfo)
    (tmp_path / "proc/self/cgroup").write_text(line)
    limit, usage = names
    groups = tmp_path / "sys/fs/cgroup" / place
    inner, outer = groups / "outer/inner", groups / "outer"
    inner.mkdir(parents=True)
    assert process_memory(tmp_path) == 8_192_000
    # In a container the path may be the machine's, and the mount the container's.
    (groups / limit).write_text("7000000\n")
    (groups / usage).write_text("0\n")
    assert process_memory(tmp_path) == 7_000_000
    (outer / limit).write_text("5000000\n")
    (outer / usage).write_text("1000000\n")
    assert process_memory(tmp_path) == 4_000_000
    # Files that are only cached make room.
    (outer / "memory.stat").write_text("anon 7\ninactive_file 300000\n")
    assert process_memory(tmp_path) == 4_300_000
    (inner / limit).write_text("max\n")
    (inner / usage).write_text("1000000\n")
    assert process_memory(tmp_path) == 4_300_000
    (inner / limit).write_text("1500000\n")
    assert process_memory(tmp_path) == 500_000


def test_run_keeps_its_parts_on_as_many_devices_as_it_began_on():
    kept = {"microbatches": 4, "bn_span": 8, "devices": 2}
    config = replace_fields(SMOKE, bn_span=16, microbatches="auto")
    assert freeze_auto(replace_fields(config, devices=2), kept).microbatches == 4
    assert freeze_auto(replace_fields(config, devices=1), kept).microbatches == "auto"
    asked = replace_fields(config, devices=2, microbatches=2)
    assert freeze_auto(asked, kept) == asked
    everywhere = kept | {"devices": jax.device_count()}
    assert (
        freeze_auto(replace_fields(config, devices=None), everywhere).microbatches == 4
    )


def test_run_is_evaluated_in_one_part():
    assert LARS.to_evaluate(replace_fields(SMOKE, microbatches=4)).microbatches == 1


def test_network_has_batch_norm_if_it_keeps_statistics():
    images = jax.ShapeDtypeStruct((2, 32, 32, 1), "float32")
    for network in ("alexnet", "alexnet_bn", "resnet8"):
        config = replace_fields(Config(), network=network)
        init = make_network(config, ImageFacts(10, 1, (0.0,), (1.0,))).init
        _, model_state = jax.eval_shape(init, jax.random.key(0), images)
        assert config.model.has_batch_norm == bool(jax.tree.leaves(model_state))


@pytest.mark.parametrize("span", ["global", "per_device", 3])
def test_network_without_batch_norm_is_cut_anywhere(span):
    config = replace_fields(
        PRESET, network="alexnet", global_batch=64, microbatches=4, bn_span=span
    )
    assert check(config) is config
    assert with_microbatches(config, 4, 8).model.span is None


def test_span_per_device_has_to_come_out_even():
    config = replace_fields(Config(), global_batch=96, bn_span="per_device")
    assert with_microbatches(config, 3, 8).model.bn_span == 4
    with pytest.raises(InputError, match="got 96 for 4 x 16: .* a multiple of 64"):
        with_microbatches(config, 4, 16)


def test_numbers_are_unknown_before_devices_and_memory_are():
    with pytest.raises(AssertionError, match="devices"):
        _ = replace_fields(Config(), bn_span="per_device").model.span
    with pytest.raises(AssertionError, match="memory"):
        _ = Config().parts
