"""`python -m experiments.transitive.detection`."""

from experiments import early
from experiments.transitive.detection.experiment import main
from lars_jax.train.interrupt import end

if __name__ == "__main__":
    early.over()
    end(main())
