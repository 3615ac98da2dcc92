"""README and docs: they are short enough, their links lead somewhere, and the flags that they mention exist."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from a3g.algorithm_options import OPTIONS
from a3g.cluster.sweep_config import SweepConfig
from a3g.compare_config import CompareConfig
from a3g.config import TrainConfig
from a3g.demo_config import DemoConfig
from a3g.eval_config import EvalConfig
from a3g.explore_config import ExploreConfig
from a3g.help_text import flag_names
from a3g.presets import PRESETS
from benchmarks.flags_table import PAGE, page

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
LONGEST_README = 120
PAGES = sorted({README, *(ROOT / "docs").rglob("*.md"), *ROOT.glob("[!.]*/README.md"), *ROOT.glob("C*.md")})

# Flags of other programs (docker, pip, tensorboard, mkdocs, cmake, sbatch, ray) that the pages mention.
FOREIGN_FLAGS = {"--help", "--version", "--no-", "--shm-size", "--strict", "--logdir", "--requirement", "--init", "--gpus"}
FOREIGN_FLAGS |= {"--array", "--batch", "--export", "--signal", "--nodes"}
FOREIGN_FLAGS |= {
    "--num-cpus",
    "--head",
    "--node-ip-address",
    "--include-dashboard",
    "--port",
    "--min-worker-port",
    "--max-worker-port",
}
FOREIGN_FLAGS |= {f"--{each}-port" for each in ("node-manager", "object-manager", "runtime-env-agent", "metrics-export")}
FOREIGN_FLAGS |= {"--dashboard-agent-grpc-port"}
COMMANDS = {"main.py": TrainConfig, "main.py explore": ExploreConfig, "gym_eval.py": EvalConfig}
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FLAG = re.compile(r"(?<![\w-])--?[a-z][a-z0-9-]*")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(path: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def commands(path: Path, program: str) -> list[str]:
    """The arguments of each use of a program in a page's code, up to a comment."""
    found = re.findall(rf"python {re.escape(program)}( [^`#\n]*)?", path.read_text())
    return [
        arguments
        for arguments in found
        if f"{program}{arguments}".split()[:2] != ["main.py", "explore"] or "explore" in program
    ]


def spellings(kind: type[Any]) -> set[str]:
    """Everything that a command accepts as a flag."""
    kinds = [kind, *OPTIONS.values()] if kind is TrainConfig else [kind]
    flags = {spelling for each in kinds for names in flag_names(each).values() for spelling in names}
    return flags | {f"--no-{flag[2:]}" for flag in flags if flag.startswith("--")} | {"--preset", "--config", "--help"}


def script_flags() -> set[str]:
    """Flags of the scripts in benchmarks/ and tests/stress/, as far as their sources show them."""
    folders = (ROOT / "benchmarks", ROOT / "tests" / "stress")
    sources = "\n".join(path.read_text() for folder in folders for path in folder.glob("*.py"))
    declared = set(re.findall(r'"(--[a-z][a-z-]*)"', sources))
    fields = re.findall(r"^    ([a-z_]+): [^\n]+", sources, flags=re.MULTILINE)  # of the scripts' dataclasses of options
    return declared | {f"--{field.replace('_', '-')}" for field in fields}


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}


def test_readme_is_short():
    assert len(README.read_text().splitlines()) <= LONGEST_README


def test_flags_page_is_current():
    assert PAGE.read_text() == page(), "run `python -m benchmarks.flags_table`"


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_relative_links_lead_to_files_and_headings(path):
    for link in _LINK.findall(prose(path)):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{name(path)} links to {link}, which does not exist"
        assert target.is_relative_to(ROOT), f"{name(path)} links to {link} outside of the repository"
        if anchor:
            assert anchor in anchors(target), f"{name(path)} links to {link}: no such heading"


@pytest.mark.parametrize("path", PAGES, ids=name)
@pytest.mark.parametrize("program", COMMANDS)
def test_commands_use_flags_that_exist(path, program):
    for arguments in commands(path, program):
        unknown = set(_FLAG.findall(arguments)) - spellings(COMMANDS[program])
        assert not unknown, f"{name(path)}: python {program}{arguments}"


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_flags_in_sentences_exist(path):
    kinds = (TrainConfig, EvalConfig, ExploreConfig, CompareConfig, DemoConfig)
    known = set().union(*map(spellings, kinds)) | script_flags() | FOREIGN_FLAGS
    known |= {f"--{field.name.replace('_', '-')}" for field in fields(SweepConfig)}
    for code in re.findall(r"`([^`\n]+)`", prose(path)):
        unknown = {flag for flag in _FLAG.findall(code) if flag.startswith("--")} - known
        assert not unknown, f"{name(path)} mentions {code}"


@pytest.mark.parametrize("path", [README, ROOT / "examples" / "README.md", ROOT / "docs" / "environment.md"], ids=name)
def test_python_examples_run(path):
    for block in re.findall(r"^```python\n(.*?)^```", path.read_text(), flags=re.MULTILINE | re.DOTALL):
        exec(compile(block, str(path), "exec"), {})


@pytest.mark.parametrize("preset", PRESETS)
def test_readme_names_every_preset(preset):
    assert re.search(rf"^\| [^|]*`{preset}`", README.read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_make_targets_exist(path):
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", path.read_text(), flags=re.MULTILINE):
        assert re.search(rf"^{''.join(target)}:", makefile, flags=re.MULTILINE), f"{name(path)}: make {''.join(target)}"


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_tests_that_pages_name_exist(path):
    """Such as `tests/test_readme.py::test_tests_that_pages_name_exist`."""
    for file, test in re.findall(r"`(tests/\w+\.py)::(\w+)`", path.read_text()):
        assert f"def {test}(" in (ROOT / file).read_text(), f"{name(path)}: {file}::{test}"


@pytest.mark.parametrize("path", [path for path in PAGES if path.parent != ROOT or path == README], ids=name)
def test_files_that_pages_name_exist(path):
    """Paths in code, such as `a3g/config.py` or `benchmarks/pieces.py`."""
    folders = "a3g|benchmarks|docs|native|tests|trained_models"
    for file in re.findall(rf"(?<![\w/<.])((?:{folders})/[\w./-]*\w\.(?:py|md|json|png|cpp|hpp|txt))", path.read_text()):
        assert (ROOT / file).exists(), f"{name(path)} names {file}"
