"""Imports point downward only, as docs/architecture.md draws the layers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Leaves that anyone may use; they use nobody.
LEAVES = ("errors", "files", "cores", "interrupts", "network_spec")
# The options: plain values that everyone above the game may use.
OPTIONS = (
    "config",
    "eval_config",
    "option_types",
    "config_json",
    "config_file",
    "help_text",
    "explore_config",
    "watch_config",
    "compare_config",
    "demo_config",
    "resume_request",
    "presets",
    "stage_settings",
    "algorithm_options",
    "ranges",
)
# What each folder or module of the package may import besides itself and the leaves; a dot names a single module.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(LEAVES, ()),
    # Plain data of the game, which need no engine.
    **dict.fromkeys(OPTIONS, (*OPTIONS, "game.options", "game.stages")),
    "reporting": OPTIONS,
    "game": ("reporting.window",),
    "exploration": ("game",),
    "accelerator": (),
    "networks": (),
    "experience": ("networks", "exploration", "accelerator", "game", "reporting", *OPTIONS),
    "algorithms": ("experience", "exploration", "networks", "accelerator", "game", *OPTIONS),
    "runs": ("algorithms", "experience", "networks", "accelerator", "game", "reporting", *OPTIONS),
    "processes": ("runs", "algorithms", "experience", "exploration", "networks", "accelerator", "game", "reporting", *OPTIONS),
    "cluster": (
        "processes",
        "runs",
        "algorithms",
        "experience",
        "exploration",
        "networks",
        "accelerator",
        "game",
        "reporting",
        "__init__",  # the version
        *OPTIONS,
    ),
    # The commands stand above all.
    "command_line": OPTIONS,
    "commands": ("command_line", "cluster", "processes", "runs", "reporting", *OPTIONS),
    "__main__": ("commands", "processes"),
    "gymnasium_ids": ("game.stages",),
    "__init__": ("gymnasium_ids",),
}
# The faces that users import and run: they hand over to the package, never the other way round.
FACES = {"environment", "shared_optim", "main", "gym_eval", "benchmarks", "tests"}
SOURCES = sorted((ROOT / "a3g").rglob("*.py"))


def is_allowed(module: str, allowed: set[str]) -> bool:
    """Whether a module, or the folder that it is in, is among those allowed; `a3g` itself is `__init__`."""
    inside = module.removeprefix("a3g").removeprefix(".") or "__init__"
    return any(inside == each or inside.startswith(f"{each}.") for each in allowed)


def imports(source: Path) -> Iterator[str]:
    """The modules that a file imports, anywhere in it, for type checks too; `from a3g import x` is `a3g.x`."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source} has a relative import"
            assert node.module
            if node.module == "a3g":
                yield from (f"a3g.{alias.name}" for alias in node.names if not alias.name.startswith("__"))
            else:
                yield node.module


def test_all_of_the_package_is_looked_at() -> None:
    assert len(SOURCES) > 50


def test_the_table_itself_points_downward_only() -> None:
    """No folder is above itself, on whatever way; single modules are told apart from their folders."""

    def below(name: str, way: tuple[str, ...] = ()) -> None:
        assert name not in way, f"{' -> '.join((*way, name))} goes round"
        for each in MAY_IMPORT.get(name, ()):
            if each not in OPTIONS or name not in OPTIONS:
                below(each, (*way, name))

    for name in MAY_IMPORT:
        below(name)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downward_only(source: Path) -> None:
    parts = source.relative_to(ROOT / "a3g").with_suffix("").parts
    assert parts[0] in MAY_IMPORT, f"{parts[0]} has no place in the table of layers"
    allowed = {parts[0], *MAY_IMPORT[parts[0]], *LEAVES}
    for module in imports(source):
        assert module.split(".")[0] not in FACES, f"{module} is a face of the program, not a part of it"
        if module.split(".")[0] == "a3g":
            assert is_allowed(module, allowed), f"{'/'.join(parts)} may not import {module}"
