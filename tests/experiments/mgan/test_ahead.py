import pytest

from experiments.mgan.ahead import compile_training
from experiments.mgan.presets import PRESETS
from lars_jax.compiler.account import account
from lars_jax.errors import InputError
from lars_jax.train import data_mesh
from lars_jax.train.config import replace_fields

RING = PRESETS["ring"].config


@pytest.mark.slow
def test_a_call_of_more_steps_does_as_many_times_the_work():
    found = []
    for steps in (1, 10):
        config = replace_fields(RING, steps_per_call=steps)
        line, compiled = compile_training(config, data_mesh(4), 0)
        assert line.startswith(f"{steps} step")
        found.append(account(compiled, 4).flops)
    assert found[1] == pytest.approx(10 * found[0], rel=0.1)


def test_a_batch_that_devices_cannot_share_is_refused():
    with pytest.raises(InputError, match="must divide evenly over the devices"):
        compile_training(replace_fields(RING, batch=510), data_mesh(4), 0)
