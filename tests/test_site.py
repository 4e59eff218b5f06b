"""The pages of the documentation site: links, anchors, tables of names, quoted messages, and the build."""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

import actde
import agents
import cli
import games
import reference_pages
from agents.config import FIELDS
from agents.play.episode import Episode, Step
from agents.protocol import Decision
from agents.storage.run_folder import read_metrics
from agents.storage.schema import AgentFile, HeadsFile, TrainingState
from agents.text.preferences import FIELDS as PREFERENCE
from agents.training import presets
from agents.training.data_file import EpisodeRow
from agents.training.factory import make_trainer
from games.textworld.generation.manifest import KEYS
from tests import ROOT
from tests.helpers import markdown, pages

DOCS = ROOT / "docs"
PACKAGES = ("actde", "agents", "games", "terminal", "experiments")
SOURCES = [ROOT / "cli.py", *(path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))]
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("agents/shipped/*/README.md"),
    ROOT / "benchmarks" / "README.md",
    *(path for path in DOCS.rglob("*.md") if "_build" not in path.parts),
]
FILES = DOCS / "reference" / "files.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in markdown.links(page):
        target, _, anchor = link.partition("#")
        if not link.startswith(("http:", "https:")):
            path = page.parent / target if target else page
            assert path.exists(), link
            assert not anchor or anchor in markdown.anchors(path), link


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", "-d", str(tmp_path / "trees")]
    done = subprocess.run(
        [*command, ".", str(tmp_path / "site")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    settings = (tmp_path / "site" / "docs" / "reference" / "settings.html").read_text()
    flags = {name: name.replace("_", "-") for name in FIELDS if name != "imports"}  # the option is --import
    assert all(f">--{flag}<" in settings or f">--[no-]{flag}<" in settings for flag in flags.values())


def test_the_generated_reference_names_all_commands_and_presets() -> None:
    text = reference_pages.commands()
    group: Any = typer.main.get_command(cli.app)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [*group.commands]
    assert "| `--bonus-command START` | Report the share" in text
    assert "| `--mode trie\\|free` | trie: sample" in reference_pages.settings()
    assert "| trunk `smollm2` | `lora=16`, `dtype=bfloat16`" in reference_pages.preset_tables()


def test_no_preset_is_missing() -> None:
    tables = {name for name, value in vars(presets).items() if name.isupper() and isinstance(value, dict)}
    public = {name for name in tables if not name.startswith("_")} - {"FIELDS"}
    assert public == set(re.findall(r"presets\.(\w+)", inspect.getsource(reference_pages.preset_tables)))


@pytest.mark.parametrize("package", [actde, agents, games])
def test_every_public_object_has_a_docstring(package: ModuleType) -> None:
    """The reference page leaves out functions and classes without a docstring."""
    objects = {name: getattr(package, name) for name in package.__all__}
    docstrings = {name: value.__doc__ or "" for name, value in objects.items() if callable(value)}
    # a dataclass without a docstring gets its signature as docstring
    assert not [name for name, text in docstrings.items() if not text or text.startswith(f"{name}(")]


def metrics_of(folder: Path, **settings: object) -> set[str]:
    """Train a small run, and return the names of its metrics."""
    config = presets.resolve({"iterations": 1, "episodes": 4, "parallel": 4, **settings})
    list(make_trainer(config, folder).run())
    return set(read_metrics(folder)[0])


def test_every_metric_has_a_row(tmp_path: Path) -> None:
    """The runs write all metrics, and the page describes no others."""
    coin = {"game": "textworld:coin?level=1..2&seed=1", "epochs": 1, "minibatches": 1}
    buffer = {"buffer_episodes": 2}
    written = (
        metrics_of(tmp_path / "ppo", game="bandit", optimizer="ppo", train_q=True, measure_kl=True, eval_game="bandit")
        | metrics_of(tmp_path / "ipd", game="ipd", optimizer="actde", eval_game="ipd", eval_episodes=3)
        | metrics_of(tmp_path / "rejection", **coin, **buffer, optimizer="rejection", group_size=4, lm_loss_coef=0.1)
        | metrics_of(tmp_path / "dagger", **coin, optimizer="imitation", beta=0.5, promote=0.9, bonus_command="look")
        | metrics_of(tmp_path / "recorded", **coin, optimizer="imitation", data="expert:1", data_share=0.5)
        | metrics_of(tmp_path / "ilql", **coin, optimizer="ilql", data="random:2")
    )
    generic = {
        re.sub(r"^(share|initial_eval)_.*", r"\1_NAME", re.sub(r"level_\d+$", "level_N", name)) for name in written
    }
    assert generic == set(markdown.first_cells(DOCS / "concepts" / "metrics.md", "metric"))


@pytest.mark.parametrize(
    ("head", "names"),
    [
        ("field of an episode", [field.name for field in fields(Episode)]),
        ("field of a step", [field.name for field in fields(Step)]),
        ("field of a decision", [field.name for field in fields(Decision)]),
        ("field of `agent.json`", ["format", *AgentFile.model_fields]),
        ("field of `state.json`", [*TrainingState.model_fields]),
        ("field of `heads.json`", [*HeadsFile.model_fields]),
        ("field of a game", KEYS),
        ("field of a preference", PREFERENCE),
        ("field of a recorded episode", EpisodeRow.__annotations__),
    ],
)
def test_every_field_of_a_file_has_a_row(head: str, names: list[str]) -> None:
    assert sorted(markdown.first_cells(FILES, head)) == sorted(names)


def test_every_environment_variable_has_a_row() -> None:
    read = {name for path in SOURCES for name in re.findall(r"\"(ACTDE_[A-Z]+)\"", path.read_text())}
    page = markdown.first_cells(DOCS / "reference" / "environment.md", "variable")
    assert read == {name for name in page if name.startswith("ACTDE_")}


def test_the_glossary_is_sorted() -> None:
    for section in (DOCS / "reference" / "glossary.md").read_text().split("\n## ")[1:]:
        terms = [term.casefold() for term in re.findall(r"^\*\*(.+?)\.\*\*", section, re.MULTILINE)]
        assert terms == sorted(terms)


def texts(path: Path) -> Iterator[str]:
    """Yield the texts in the code of a file, with … for inserted values."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = (str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
            yield re.sub("…+", "…", "".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_quoted_messages_are_those_of_the_code() -> None:
    code = {text for path in SOURCES for text in texts(path)}
    quoted = [line for block in pages.blocks("docs/troubleshooting.md", "text") for line in block.splitlines()]
    assert len(quoted) >= 15
    assert not [line for line in quoted if line not in code]
