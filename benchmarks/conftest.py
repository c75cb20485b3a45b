"""Which files of this folder hold examples that can be run here."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["*/torch_*.py"]
