"""Which package may import which, and how large files and functions may grow."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "lars_jax").rglob("*.py")) + sorted(
    (ROOT / "experiments").rglob("*.py")
)
PACKAGES = ("optim", "train", "data", "models", "report", "runs")
DEPENDS_ON = {"runs": ("lars_jax.train", "lars_jax.errors")}
"""What a package imports of the others; those that are not named, nothing."""
FLAX_USERS = ("lars_jax/models/",)
LONGEST_FILE = 500
LONGEST_FUNCTION = 80


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    return (
        relative(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    )


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield every module that a file imports, wherever in it, with the line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{relative(path)}:{node.lineno} relative import"
            yield node.module or "", node.lineno


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            yield node


def body_lines(function: ast.FunctionDef) -> int:
    end = function.end_lineno or function.lineno
    first = function.body[0]
    if ast.get_docstring(function):
        return end - (first.end_lineno or first.lineno)
    return end - first.lineno + 1


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_arrows_point_one_way(path):
    place = relative(path)
    for module, line in imports(path):
        where = f"{place}:{line} imports {module}"
        if place.startswith("lars_jax/"):
            assert not module.startswith("experiments"), where
        if place.count("/") > 1 and place.startswith("lars_jax/"):
            package = place.split("/")[1]
            below = DEPENDS_ON.get(package, ())
            others = {f"lars_jax.{name}" for name in PACKAGES if name != package}
            assert not module.startswith(tuple(others.difference(below))), where
            if below and module.startswith("lars_jax"):
                assert module.startswith((f"lars_jax.{package}", *below)), where
        if place.startswith("experiments/") and place.count("/") > 1:
            own = place.split("/")[1]
            if module.startswith("experiments."):
                assert module.split(".")[1] == own, where


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_flax_and_orbax_stay_behind_their_seams(path):
    place = relative(path)
    for module, line in imports(path):
        where = f"{place}:{line} imports {module}"
        if module.split(".")[0] == "flax":
            assert place.startswith(FLAX_USERS) or place.endswith("networks.py"), where
        if module.split(".")[0] == "orbax":
            assert place == "lars_jax/train/checkpoint.py", where


def test_no_import_cycles():
    edges = {
        module_name(path): {
            module
            for module, _ in imports(path)
            if module.startswith(("lars_jax", "experiments"))
        }
        for path in SOURCES
        # Only guarded by TYPE_CHECKING, these are no imports when the program runs.
    }
    finished: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module in finished:
            return
        for target in edges.get(module, ()):
            visit(target, (*trail, module))
        finished.add(module)

    for module in edges:
        visit(module, ())


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_files_and_functions_stay_small(path):
    assert len(path.read_text().splitlines()) <= LONGEST_FILE
    for function in functions(path):
        size = body_lines(function)
        assert size <= LONGEST_FUNCTION, f"{function.name}: {size} lines"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_every_argument_is_annotated(path):
    for function in functions(path):
        arguments = function.args.posonlyargs + function.args.args
        for argument in arguments + function.args.kwonlyargs:
            known = argument.arg in ("self", "cls") or argument.annotation
            assert known, f"{function.name}({argument.arg}) at line {function.lineno}"


def test_importing_a_package_pulls_in_nothing_heavy():
    heavy = ("flax", "orbax", "tensorflow_datasets", "tensorflow", "matplotlib", "PIL")
    heavy += ("sklearn", "tyro", "tensorboardX", "jinja2")
    program = (
        "import sys, lars_jax, lars_jax.data, lars_jax.runs\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
