"""Which files of this folder hold examples that can be run here."""

import importlib.util

installed = all(map(importlib.util.find_spec, ("torch", "torchvision")))
collect_ignore_glob = [] if installed else ["*/torch_*.py"]
