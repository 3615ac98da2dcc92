"""Hook of mkdocs: adds pages that live outside of docs/, and the Python reference, to the site.

- The first pages of the repository's folders (`native/README.md` and so on) become pages of the site, and links to them and
  from them are rewritten. So every text exists once, and its links also work where the files are read directly.
- Each package of the project gets a reference page, which mkdocstrings fills from the docstrings.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent

OUTSIDE_PAGES = {
    "README.md": "overview.md",
    "native/README.md": "native.md",
    "benchmarks/README.md": "folders/benchmarks.md",
    "tests/README.md": "folders/tests.md",
    "examples/README.md": "folders/examples.md",
    "trained_models/README.md": "folders/trained_models.md",
    "logs/README.md": "folders/logs.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Path in the repository to path on the site. A file that does not exist is left out."""

PUBLIC_MODULES = ("environment", "shared_optim")
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def outside_pages() -> dict[str, str]:
    """The entries of OUTSIDE_PAGES whose file exists."""
    return {source: page for source, page in OUTSIDE_PAGES.items() if (ROOT / source).is_file()}


def packages() -> list[str]:
    """The packages directly below `a3g`, such as ``a3g.game``."""
    return [f"a3g.{folder.parent.name}" for folder in sorted((ROOT / "a3g").glob("*/__init__.py"))]


def modules() -> list[str]:
    """The modules directly below `a3g`, such as ``a3g.config``."""
    return [f"a3g.{file.stem}" for file in sorted((ROOT / "a3g").glob("*.py")) if file.stem != "__init__"]


def reference_pages() -> dict[str, str]:
    """Path on the site to text of the reference pages."""
    pages = {f"reference/{name}.md": f"# `{name}`\n\n::: {name}\n" for name in PUBLIC_MODULES}
    blocks = "\n".join(f"## `{name}`\n\n::: {name}\n" for name in modules())
    pages["reference/a3g.md"] = f"# `a3g`\n\n{blocks}"
    for name in packages():
        pages[f"reference/{name}.md"] = f"# `{name}`\n\n::: {name}\n    options:\n      show_submodules: true\n"
    return pages


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages to the site's navigation."""
    assert config.nav is not None
    pages = outside_pages()
    folders = [{source.removesuffix("/README.md"): page} for source, page in pages.items() if page.startswith("folders/")]
    project = [{page.removesuffix(".md").title(): page} for page in pages.values() if page.startswith("c")]
    reference = [{page[len("reference/") : -len(".md")]: page} for page in reference_pages()]
    config.nav = [*config.nav, {"Project": [{"Overview": "overview.md"}, *project, *folders]}, {"Python reference": reference}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to the site's files."""
    for source, page in outside_pages().items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for page, text in reference_pages().items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite relative links so that they lead to where the site has their target."""
    here = page.file.src_uri
    source = next((source for source, target in outside_pages().items() if target == here), f"docs/{here}")

    def rewritten(match: re.Match[str]) -> str:
        before, target, after = match.groups()
        if re.match(r"[a-z]+:", target):
            return match[0]
        return f"{before}{site_link(source, here, target)}{after}"

    # Code blocks are left alone.
    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_LINK.sub(rewritten, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _LINK.sub(rewritten, markdown[end:])])


def site_link(source: str, here: str, target: str) -> str:
    """The link on the page `here`, made of the file `source`, to what `target` means in that file."""
    wanted = (ROOT / source).parent.joinpath(target).resolve().relative_to(ROOT).as_posix()
    wanted = f"{wanted}/README.md" if (ROOT / wanted / "README.md").is_file() else wanted
    page = outside_pages().get(wanted) or wanted.removeprefix("docs/")
    return "../" * here.count("/") + page


def on_page_read_source(page: Page, config: MkDocsConfig) -> None:
    """Pages from outside have nothing to edit below docs/."""
    if page.file.src_uri in outside_pages().values():
        page.edit_url = None


__all__: list[Any] = ["on_config", "on_files", "on_page_markdown", "on_page_read_source"]
