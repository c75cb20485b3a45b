"""What the site needs besides `mkdocs.yml`: files from beside docs/, and examples.

Links are written as they work in the repository, where docs/ is a folder. In the site
its pages are at the root, and so one step nearer to everything else.
"""

import re
from pathlib import Path

from griffe import Alias, Extension, Module, Object
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
BESIDE = (
    "experiments/*/README.md",
    "experiments/launch/*.s*",
    "experiments/launch/*.yaml",
    "experiments/toy.py",
    "records/*.svg",
    "records/*.png",
)
EXAMPLE = re.compile(r"^>>> (?:.+\n?)+", re.M)
FENCE = "```pycon"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files beside docs/ at their paths within the repository."""
    for pattern in BESIDE:
        for path in sorted(ROOT.glob(pattern)):
            place = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Return the page with its links as they lead from its place in the site."""
    if page.file.src_uri.startswith("experiments/"):
        return markdown.replace("](../../docs/", "](../../")
    return markdown.replace("](../", "](")


class Docstrings(Extension):
    """Reads docstrings as they are written here."""

    def on_object(self, *, obj: Object, **_: object) -> None:
        """Set the examples as code, though no heading announces them."""
        # An object may be met more than once.
        if obj.docstring and FENCE not in obj.docstring.value:
            obj.docstring.value = EXAMPLE.sub(
                lambda found: f"{FENCE}\n{found[0].rstrip()}\n```\n",
                obj.docstring.value,
            )

    def on_package(self, *, pkg: Module, **_: object) -> None:
        """Show what a package exports, though a module of it may have the same name."""
        packages = [*pkg.modules.values(), pkg]
        for package in packages:
            exported = {str(name) for name in package.exports or ()}
            for module in list(package.modules.values()):
                if module.name in exported & module.members.keys():
                    # With its module out of sight, all else of it must be found here.
                    for name in exported & module.members.keys():
                        if not module.members[name].is_alias:
                            package.members[name] = module.members[name]
            for name in exported:
                member = package.members[name]
                if isinstance(member, Alias) and member.is_module:
                    package.members[name] = pkg[member.target_path.split(".")[1:]]
