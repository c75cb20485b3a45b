"""Which package may import which, and how large files and functions may grow."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "lars_jax").rglob("*.py")) + sorted(
    (ROOT / "experiments").rglob("*.py")
)
PACKAGES = ("optim", "train", "data", "models", "report", "compiler", "runs")
DEPENDS_ON = {
    "runs": (
        *("lars_jax.train", "lars_jax.data", "lars_jax.compiler"),
        *("lars_jax.cpu", "lars_jax.errors", "lars_jax.files"),
    )
}
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


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text())))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield every module that a file imports, wherever in it, with the line."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{relative(path)}:{node.lineno} relative import"
            yield node.module or "", node.lineno


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for path in SOURCES:
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef):
                yield f"{relative(path)}:{node.lineno} {node.name}", node


def body_lines(function: ast.FunctionDef) -> int:
    end = function.end_lineno or function.lineno
    first = function.body[0]
    if ast.get_docstring(function):
        return end - (first.end_lineno or first.lineno)
    return end - first.lineno + 1


def may_import(place: str, module: str) -> bool:
    """Return whether the arrows between packages allow this import."""
    root, package = place.split("/")[:2] if place.count("/") > 1 else (place, None)
    if place.startswith("lars_jax/") and module.startswith("experiments"):
        return False
    if root == "experiments" and module.startswith("experiments."):
        return module.split(".")[1] == package
    if root != "lars_jax":
        return True
    below = DEPENDS_ON.get(package or "", ())
    others = {f"lars_jax.{name}" for name in PACKAGES if name != package}
    if below and module.startswith("lars_jax"):
        return module.startswith((f"lars_jax.{package}", *below))
    return not module.startswith(tuple(others))


def may_use(place: str, library: str) -> bool:
    """Return whether a file may know flax, or orbax."""
    if library == "flax":
        return place.startswith(FLAX_USERS) or place.endswith("networks.py")
    return library != "orbax" or place == "lars_jax/train/checkpoint.py"


def test_arrows_point_one_way_and_flax_and_orbax_stay_behind_their_seams():
    for path in SOURCES:
        place = relative(path)
        for module, line in imports(path):
            allowed = may_import(place, module) and may_use(place, module.split(".")[0])
            assert allowed, f"{place}:{line} imports {module}"


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


def test_files_and_functions_stay_small():
    for path in SOURCES:
        assert len(path.read_text().splitlines()) <= LONGEST_FILE, path
    for name, function in functions():
        assert body_lines(function) <= LONGEST_FUNCTION, name


def test_every_argument_is_annotated():
    for name, function in functions():
        arguments = function.args.posonlyargs + function.args.args
        for argument in arguments + function.args.kwonlyargs:
            known = argument.arg in ("self", "cls") or argument.annotation
            assert known, f"{name}({argument.arg})"


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
