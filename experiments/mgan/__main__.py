"""`python -m experiments.mgan`."""

from experiments.mgan.cli import main
from lars_jax.train.interrupt import end

if __name__ == "__main__":
    end(main())
