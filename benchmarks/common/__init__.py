"""Records, rounds that take turns, processes: what several benchmarks share."""
