"""What the pages show runs, and where they point there is something."""

import contextlib
import importlib.util
import io
import re
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
GUIDES = [page for page in PAGES if page.parent.name == "docs"]
EVERY = [*PAGES, *sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("experiments/*/*.md"))]
EXAMPLE = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n^```text\n(?P<output>.*?)^```\n)?",
    re.M | re.S,
)
HEADING = re.compile(r"^#+ (.*)$", re.M)
FENCED = re.compile(r"^```.*?^```", re.M | re.S)
COMMAND = re.compile(r"python -m ((?:benchmarks|experiments)\.[\w.]*\w)")


def place(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def examples(page: Path) -> list[tuple[int, str, str]]:
    """Return line, code and shown output of each example; "" where none is shown."""
    text = page.read_text(encoding="utf-8")
    return [
        (text[: match.start()].count("\n") + 2, match["code"], match["output"] or "")
        for match in EXAMPLE.finditer(text)
    ]


def anchors(page: Path) -> set[str]:
    """Return the fragments that lead to the headings of a page."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    words = (re.sub(r"[^\w\- ]", "", title).lower() for title in HEADING.findall(text))
    return {title.strip().replace(" ", "-") for title in words}


@pytest.mark.slow
@pytest.mark.parametrize("page", GUIDES, ids=place)
def test_examples_print_what_the_page_shows(page):
    names: dict[str, object] = {}
    # A reader has JAX as it comes, not as strict as these tests have it.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for line, code, output in examples(page):
            printed = io.StringIO()
            # So that a traceback names the line of the page.
            code = compile("\n" * (line - 1) + code, str(page), "exec")
            with contextlib.redirect_stdout(printed):
                exec(code, names)
            assert printed.getvalue() == output, f"{page.name}:{line}"


def test_no_example_is_overlooked_and_no_line_is_longer_than_code():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found = examples(page)
        assert text.count("```python") == len(found), page
        assert text.count("```text") == sum(bool(output) for *_, output in found), page
        for line in text.splitlines():
            assert line.startswith("|") or len(line) <= 88, f"{page}: {line}"


def test_every_link_within_the_repository_leads_somewhere():
    for page in EVERY:
        text = page.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
            found = page.parent / target if target else page
            assert found.exists(), f"{page}: {target}"
            known = not anchor or anchor in anchors(found)
            assert known, f"{page}: {target}#{anchor}"


def test_every_command_that_is_named_exists():
    sources = (ROOT / "benchmarks").rglob("*.py")
    named = {
        (place(page), module)
        for page in (*EVERY, *(ROOT / "records").glob("*.json"), *sources)
        for module in COMMAND.findall(page.read_text(encoding="utf-8"))
    }
    assert len(named) > 50
    for page, module in named:
        assert importlib.util.find_spec(module), f"{page}: {module}"


def test_page_on_experiments_shows_the_toy_as_it_is():
    page = (ROOT / "docs" / "add_an_experiment.md").read_text(encoding="utf-8")
    toy = (ROOT / "experiments" / "toy.py").read_text(encoding="utf-8")
    excerpts = re.findall(r"^```py\n(.*?)^```", page, re.M | re.S)
    assert len(excerpts) == 6
    code = _lines(toy)
    for excerpt in excerpts:
        assert _lines(excerpt) in code, excerpt


def _lines(code: str) -> str:
    """Return code without its blank lines and indentation."""
    return "\n".join(line.strip() for line in code.splitlines() if line.strip())
