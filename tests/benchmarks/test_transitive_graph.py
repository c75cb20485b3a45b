"""The benchmark of the graph, at a small size."""

import numpy as np

from benchmarks.transitive.graph import compare, measure, told, write_nodes


def test_stages_are_timed_and_counted(tmp_path):
    write_nodes(path := tmp_path / "features.npy", 3000, seed=0)
    assert np.load(path).shape == (3000, 256)
    row = measure(path)
    assert row["nodes"] == 3000
    assert all(seconds > 0 for seconds in row["seconds"].values())
    assert row["counts"]["transitive"] == 3 * row["counts"]["inter"] > 0
    assert row["peak_mebibytes"] >= row["mebibytes_before"] > 0
    assert "3,000 nodes, 1 parents" in told(row)


def test_what_is_lost_is_counted_against_exact_neighbours(tmp_path):
    write_nodes(path := tmp_path / "features.npy", 2000, seed=0)
    rows = {(row["what"], row["value"]): row for row in compare(path, (1, 999), (16,))}
    assert rows["exact", 2000]["lost"] == 0
    assert rows["probes", 999]["recall"] == 1
    assert 0 < rows["probes", 1]["lost"] < 1
    fewer, compared = rows["components", 16], rows["components, compared by all", 16]
    assert fewer["recall"] < compared["recall"] <= 1
