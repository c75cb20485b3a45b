"""How far every published LARS of this package is from its float64 oracle.

    python -m benchmarks.optimizer.variants

An error is that of the worst single step from the weights at hand, relative to the
largest entry that moved, over all leaves.
"""

from typing import Any

import numpy as np

from benchmarks.common.records import write_record
from lars_jax.optim import VARIANTS
from tests.optim.variant_cases import (
    CASES,
    STEPS,
    expected,
    moves,
    run,
    step_errors,
)

DTYPES = {"float32": np.float32, "float64": np.float64}


def largest_error(variant: str, case: str, dtype: Any) -> float:
    """Return the largest relative error of a variant over the leaves of a case."""
    found = run(variant, CASES[case], dtype)
    wanted = moves(expected(variant, CASES[case], found))
    return max(step_errors(found.updates, wanted).values())


def table(errors: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return variant x case, with the largest float32 and float64 error of each."""
    lines = [f"{'variant':<16} {'case':<22} {'float32':>8} {'float64':>8}"]
    for variant, cases in errors.items():
        for case, found in cases.items():
            numbers = " ".join(f"{found[dtype]:8.1e}" for dtype in DTYPES)
            lines.append(f"{variant:<16} {case:<22} {numbers}")
    return "\n".join(lines)


def main() -> None:
    """Measure all and write `records/variant_errors.json`."""
    errors = {
        variant: {
            case: {
                name: largest_error(variant, case, dtype)
                for name, dtype in DTYPES.items()
            }
            for case in CASES
        }
        for variant in VARIANTS
    }
    print(table(errors))
    command = "python -m benchmarks.optimizer.variants"
    print(write_record("variant_errors", command, steps=STEPS, errors=errors))


if __name__ == "__main__":
    main()
