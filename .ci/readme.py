"""Print a command of the README: the shell block that follows `<!-- NAME -->`."""

import re
import sys
from pathlib import Path

text = Path("README.md").read_text()
block = re.search(rf"<!-- {sys.argv[1]} -->\s*```(?:bash|sh)\n(.*?)```", text, re.S)
if block is None:
    sys.exit(f"README.md has no shell block after <!-- {sys.argv[1]} -->")
print(block[1].strip())
