"""`python -m experiments.transitive`."""

from experiments.transitive.experiment import main
from lars_jax.train.interrupt import end

if __name__ == "__main__":
    end(main())
