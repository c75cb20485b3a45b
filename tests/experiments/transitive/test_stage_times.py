from experiments.transitive.results import stage_rates, stage_times
from lars_jax.train.record import write_json


def test_a_stage_that_went_on_has_no_rate(tmp_path):
    place = tmp_path / "context" / "log"
    place.mkdir(parents=True)
    write_json(place / "time.json", {"seconds": 5.0, "resumed": True})
    assert stage_times(tmp_path) == {
        "context": {"seconds": 5.0, "amount": 0, "unit": ""}
    }
    assert stage_rates(tmp_path, ["context"]) == {"context: time": "5.0 s"}
