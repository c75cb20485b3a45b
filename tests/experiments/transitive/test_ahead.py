import pytest

from experiments.transitive.ahead import compile_training
from experiments.transitive.presets import PRESETS
from lars_jax.compiler.account import account
from lars_jax.errors import InputError
from lars_jax.train import data_mesh
from lars_jax.train.config import replace_fields

DEMO = replace_fields(PRESETS["demo"].config, global_batch=16, image_size=16)


@pytest.mark.slow
def test_a_step_on_several_devices_shares_the_work_and_sums_the_gradient():
    found = []
    for devices in (1, 4):
        line, compiled = compile_training(DEMO, data_mesh(devices), 0)
        assert line == "8 pairs of crops a step, 16 pixels a side"
        found.append(account(compiled, devices))
    one, four = found
    assert four.flops < 0.5 * one.flops
    assert not one.collectives
    assert any(each.kind == "all-reduce" for each in four.collectives)


@pytest.mark.slow
def test_patches_are_learned_beside_the_ranking_where_they_have_a_weight():
    _, plain = compile_training(DEMO, data_mesh(1), 0)
    config = replace_fields(DEMO, context_weight=1.0, patch=16)
    _, both = compile_training(config, data_mesh(1), 0)
    assert account(both).flops > 1.2 * account(plain).flops


def test_pairs_that_devices_cannot_share_are_refused():
    config = replace_fields(DEMO, global_batch=18)
    with pytest.raises(InputError, match="must divide evenly over the devices"):
        compile_training(config, data_mesh(4), 0)
