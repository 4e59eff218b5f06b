"""The key map translates every kind of name, a rewrite is idempotent, and a comparison misses no difference."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agents.config import TrainConfig
from benchmarks.migration.compare_versions import Version, compare
from benchmarks.migration.key_map import DEFAULT, KeyMap, build, leaves
from benchmarks.migration.outputs import Values, differences, documents
from benchmarks.migration.rewrite import CannotRewriteError, Rewriter
from benchmarks.migration.scenarios import SCENARIOS, words

SHIPPED = Path(__file__).parent.parent.parent / "agents" / "shipped"
NAMES = {
    "options": {"--lam": "--gae-lambda", "--detach": "--no-grad"},
    "sections": {
        "settings": {"train/seed": "run/seed", "learning/lam": "optimizer/gae_lambda", "train/mode": "rollout/mode"},
        "metrics": {"text_loss": "lm_loss", "level_*_won": "won_at_level_*", "old": None},
        "settings.json": {"": "@settings"},
        "metrics.jsonl": {"*": "@metrics"},
        "results.json": {"runs/*/settings": "@settings", "runs/*/keep": "runs/*/top"},
        "agent.json": {"assembly": "model", "made_by": "@settings"},
        "train --json": {"settings": "@flat_settings"},
        "training.safetensors": {"stepper": "torch_optimizer"},
    },
    "values": {"settings": {"rollout/mode": {"exact": "trie"}}, "agent.json": {"format": {"1": 2}}},
    "added": {"metrics.jsonl": {"*/device": "cpu"}},
    "files": {"old.json": "new.json"},
    "not_compared": {
        "rewritten_texts": [],
        "wall_clock": ["seconds"],
        "digests": ["agent.json/digest"],
        "prose_and_pictures": ["*.md"],
    },
}


@pytest.fixture
def names() -> KeyMap:
    return KeyMap(NAMES)


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("settings.json", {"train": {"seed": 1}, "learning": {"lam": 0.9}}, None),
        ("metrics.jsonl", [{"text_loss": 1, "a": 0.0}], [{"lm_loss": 1, "a": 0.0}]),
        ("metrics.jsonl", [{"level_3_won": 1, "old": 5}], [{"won_at_level_3": 1}]),
        ("results.json", {"runs": [{"keep": 1}, {"settings": {"train": {"seed": 2}}}]}, None),
        ("agent.json", {"assembly": {"trunk": "pico"}, "config": None}, {"model": {"trunk": "pico"}, "config": None}),
        ("agent.json", {"format": 1, "made_by": {"train": {"mode": "exact"}}}, None),
        ("train --json", {"settings": {"seed": 1, "lam": 2}, "seed": 3}, None),
        ("other.json", {"train": {}, "lam": [], "x": [[1], {}]}, {"train": {}, "lam": [], "x": [[1], {}]}),
        ("other.json", [], []),
    ],
)
def test_documents_get_new_names_of_keys_and_values(names: KeyMap, kind: str, old: Any, new: Any) -> None:
    expected = {
        "settings.json": {"run": {"seed": 1}, "optimizer": {"gae_lambda": 0.9}},
        "results.json": {"runs": [{"top": 1}, {"settings": {"run": {"seed": 2}}}]},
        "agent.json": {"format": 2, "made_by": {"rollout": {"mode": "trie"}}},
        "train --json": {"settings": {"run": {"seed": 1}, "optimizer": {"gae_lambda": 2}}, "seed": 3},
    }
    assert names.document(kind, old) == (expected[kind] if new is None else new)


def test_leaves_and_build_are_inverse() -> None:
    document = {"a": [1, {"b": None}, []], "c.d/e": {}, "f": {"1": 2}}
    assert build(leaves(document)) == document
    with pytest.raises(ValueError, match="two values"):
        build([(("a",), 1), (("a",), 2)])


def test_commands_get_new_options(names: KeyMap) -> None:
    asked = ["train", "--lam", "0.9", "--no-detach", "--lambda=1", "--mode", "exact", "--optimizers", "ppo+lam=1,actde"]
    wanted = ["train", "--gae-lambda", "0.9", "--no-no-grad", "--lambda=1", "--mode", "trie", "--optimizers"]
    assert names.arguments(asked) == [*wanted, "ppo+gae_lambda=1,actde"]
    assert names.arguments(["--vary", "lam=0,1"]) == ["--vary", "gae_lambda=0,1"]
    text = "`--lam 0.9`, --lam-x and a lam; --vary lam=0,1 --optimizers ppo+lam=1"
    assert names.text(text) == (
        "`--gae-lambda 0.9`, --lam-x and a lam; --vary gae_lambda=0,1 --optimizers ppo+gae_lambda=1"
    )


def test_the_committed_map_is_consistent() -> None:
    names, data = KeyMap.load(), json.loads(DEFAULT.read_text())
    for section, rules in data["sections"].items():
        targets = {new.partition("@")[0] for new in rules.values() if new} - {""}
        assert not targets & set(rules), f"{section}: a new name is also an old one"
        mounted = {new.partition("@")[2] for new in rules.values() if new} - {""}
        assert mounted <= set(names.sections)
    leaf = {old.rpartition("/")[2]: new.rpartition("/")[2] for old, new in data["sections"]["settings"].items()}
    renamed = {f"--{old}".replace("_", "-"): f"--{new}".replace("_", "-") for old, new in leaf.items() if old != new}
    assert renamed.items() <= data["options"].items()


def side(folder: Path, *, metrics: dict[str, Any], files: dict[str, Any]) -> Path:
    """Write a run's metrics and other JSON files to the folder of a scenario, and return the folder."""
    (folder / "out" / "run").mkdir(parents=True)
    (folder / "log").mkdir()
    (folder / "out" / "run" / "metrics.jsonl").write_text(json.dumps(metrics) + "\n")
    for name, content in files.items():
        (folder / "out" / "run" / name).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("metrics", "files", "found"),
    [
        ({"lm_loss": 0.1, "seconds": 9.0}, {}, []),
        ({"lm_loss": 0.1, "seconds": 9.0, "device": "cpu"}, {}, []),
        ({"lm_loss": 0.1000000001, "seconds": 9.0}, {}, ["run/metrics.jsonl: 0/lm_loss: 0.1 became 0.1000000001"]),
        ({"lm_loss": 0.1}, {}, ["run/metrics.jsonl: 0/seconds: missing, was 1.0"]),
        ({"lm_loss": 0.1, "seconds": 1, "device": "gpu"}, {}, ['run/metrics.jsonl: 0/device: additional, is "gpu"']),
        (
            {"text_loss": 0.1, "seconds": 1.0},
            {},
            ["run/metrics.jsonl: 0/lm_loss: missing, was 0.1", "run/metrics.jsonl: 0/text_loss: additional, is 0.1"],
        ),
        ({"lm_loss": 0.1, "seconds": 9.0}, {"more.json": 1}, ["run/more.json: only the new version wrote it"]),
        ({"lm_loss": 0.1, "seconds": 9.0}, {"a.md": 0}, ["run/a.md: only the new version wrote it"]),
    ],
)
def test_every_difference_is_found(
    names: KeyMap, tmp_path: Path, metrics: dict[str, Any], files: dict[str, Any], found: list[str]
) -> None:
    before = side(tmp_path / "before", metrics={"text_loss": 0.1, "seconds": 1.0}, files={"old.json": [1, "x"]})
    after = side(tmp_path / "after", metrics=metrics, files={"new.json": [1, "x"], **files})
    old = documents(before, tmp_path, names, translated=True)
    assert differences(old, documents(after, tmp_path, names, translated=False), names) == found


def safetensors(name: str, dtype: str, data: bytes) -> bytes:
    header = json.dumps({name: {"dtype": dtype, "shape": [2], "data_offsets": [0, len(data)]}}).encode()
    return len(header).to_bytes(8, "little") + header + data


def test_tensors_are_compared_bit_by_bit(names: KeyMap, tmp_path: Path) -> None:
    def values(name: str, dtype: str, data: bytes) -> dict[str, Values]:
        folder = tmp_path / f"{name}-{dtype}-{data.hex()}"
        (folder / "out").mkdir(parents=True)
        (folder / "out" / "training.safetensors").write_bytes(safetensors(f"{name}.0.step", dtype, data))
        return documents(folder, tmp_path, names, translated=name == "stepper")

    old = values("stepper", "F32", b"12345678")

    def found(dtype: str, data: bytes) -> list[str]:
        return differences(old, values("torch_optimizer", dtype, data), names)

    assert found("F32", b"12345678") == []
    assert [line.partition(": ")[2][:22] for line in found("F32", b"12345679")] == ["torch_optimizer/0/step"]
    assert len(found("I32", b"12345678")) == 1


def test_rewriting_twice_is_rewriting_once(names: KeyMap, tmp_path: Path) -> None:
    agent: dict[str, Any] = {"format": 1, "assembly": {"lora": 0}, "made_by": {"learning": {"lam": 0.95}}}
    agent["digest"] = old = _digest_of(agent)
    contents = {
        "agent.json": json.dumps(agent, indent=1) + "\n",
        "card.json": json.dumps({"rows": [{"of": {"agent": old}}]}, indent=1) + "\n",
        "about.json": json.dumps({"command": "python cli.py train --lam 1", "é": 1}, ensure_ascii=False),
        "metrics.jsonl": '{"text_loss": 1e-07}\n{"text_loss": null}\n',
        "README.md": "Run `python cli.py train --lam 1`, whose lam is 1.\n",
        "untouched.json": '{"command":   "open --lam"}',
    }
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    changed = Rewriter(names).files([tmp_path])
    assert {path.name for path in changed} == set(contents) - {"untouched.json"}
    for path, content in changed.items():
        path.write_bytes(content)
    assert Rewriter(names).files([tmp_path]) == {}
    new = json.loads((tmp_path / "agent.json").read_text())
    assert new["made_by"] == TrainConfig.from_flat({"gae_lambda": 0.95}).model_dump()
    assert new["model"] == {"lora": 0}
    assert new["digest"] == _digest_of(new) != old
    assert json.loads((tmp_path / "card.json").read_text())["rows"][0]["of"]["agent"] == new["digest"]
    assert (tmp_path / "about.json").read_text() == '{"command": "python cli.py train --gae-lambda 1", "é": 1}'
    assert (tmp_path / "metrics.jsonl").read_text() == '{"lm_loss": 1e-07}\n{"lm_loss": null}\n'
    assert (tmp_path / "README.md").read_text() == "Run `python cli.py train --gae-lambda 1`, whose lam is 1.\n"


def _digest_of(agent: dict[str, Any]) -> str:
    plain = {name: value for name, value in agent.items() if name != "digest"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*/agent.json")), ids=lambda path: path.parent.name)
def test_digests_are_those_of_shipped_agents(path: Path) -> None:
    agent = json.loads(path.read_text())
    assert _digest_of(agent) == agent["digest"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("settings.json", '{"train": {"unheard": 1}}\n', "lacks train/unheard"),
        ("agent.json", '{"assembly": 1, "made_by": {}, "digest": "0"}\n', "digest"),
        ("metrics.jsonl", '{"text_loss":1}\n', "layout"),
    ],
)
def test_what_cannot_be_rewritten_is_refused(names: KeyMap, tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CannotRewriteError, match=message):
        Rewriter(names).files([tmp_path])


CLI = """import json, pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
out.mkdir(exist_ok=True)
if {option!r} not in sys.argv:
    sys.exit("error: No such option: --gae-lambda")
(out / "metrics.jsonl").write_text(json.dumps({{{key!r}: 1}}) + "\\n")
"""


@pytest.mark.parametrize(
    ("option", "key", "found"),
    [
        ("--gae-lambda", "lm_loss", []),
        ("--gae-lambda", "loss", ["metrics.jsonl: 0/lm_loss: missing", "metrics.jsonl: 0/loss: additional"]),
        ("--lam", "lm_loss", ["AFTER: python cli.py train --gae-lambda 1"]),
    ],
)
def test_two_versions_are_compared_through_their_command_lines(
    names: KeyMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, key: str, found: list[str]
) -> None:
    monkeypatch.setitem(SCENARIOS, "fake", ["train --lam 1 --out {out}"])
    versions = []
    for name, *parts in (("before", "--lam", "text_loss"), ("after", option, key)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "cli.py").write_text(CLI.format(option=parts[0], key=parts[1]))
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "x"]):
            subprocess.run(["git", "-C", str(folder), *command], check=True)
        versions.append(Version.parse(f"{sys.executable}:{folder}", tmp_path / f"work-{name}"))
    assert_starts(compare(versions[0], versions[1], "fake", names, partly=False), found)
    kept = tmp_path / "work-before" / "fake" / "out" / "metrics.jsonl"
    kept.write_text(kept.read_text().replace("1", "2"))  # BEFORE is not run again
    again = compare(versions[0], versions[1], "fake", names, partly=False)
    assert_starts(again, found or ["metrics.jsonl: 0/lm_loss: 2 became 1"])


def assert_starts(lines: list[str], starts: list[str]) -> None:
    assert len(lines) == len(starts)
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))


def test_a_game_of_several_parts_is_one_word() -> None:
    assert words("play --game a?x=1 + b --json") == ["play", "--game", "a?x=1 + b", "--json"]
