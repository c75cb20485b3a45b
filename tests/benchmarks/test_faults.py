"""The fault table, in small: what is counted there must come out right here."""

import pytest

from benchmarks.faults.injection import Faults, damage, kills


@pytest.mark.slow
def test_killed_run_ends_as_one_that_was_not(tmp_path):
    starting, training = kills("toy", Faults(kills=4), tmp_path)
    assert starting.statuses == {"-9": 1}
    assert training.statuses == {"-9": 3}
    for row in (starting, training):
        assert (row.runs, row.bit_equal, row.beyond_save) == (1, 1, 0)
    assert len(training.lost) == 3
    assert min(training.lost) >= 0


@pytest.mark.slow
def test_damaged_checkpoints_cost_the_steps_since_the_one_before(tmp_path):
    rows = damage("toy", Faults(damaged=3), tmp_path)
    assert [row.count for row in rows] == [1, 1, 1]
    for row in rows:
        assert row.statuses == {"0": 1}
        assert row.lost == [10]
        assert row.bit_equal == row.runs == 1
