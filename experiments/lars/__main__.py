"""`python -m experiments.lars`."""

import sys

from experiments.lars.cli import main

if __name__ == "__main__":
    sys.exit(main())
