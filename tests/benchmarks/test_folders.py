"""Which folder of benchmarks may import which."""

import ast
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "benchmarks"


def test_subjects_know_what_is_common_and_tables_know_subjects():
    for path in FOLDER.glob("*/*.py"):
        own = path.parent.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.ImportFrom) and node.module):
                continue
            package, *rest = node.module.split(".")
            if package == "benchmarks" and own != "tables":
                assert rest[0] in ("common", own), f"{path}:{node.lineno}"
