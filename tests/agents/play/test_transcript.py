"""Episodes and transcripts survive JSON, and damage is named."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents import AgentError, Decision
from agents.play.episode import Episode, Step
from agents.play.transcript import NAME, Entry, append, read, recorder

DECISION = Decision(
    command="go", probabilities={"go": 0.75, "stay": 0.25}, value=1.5, q_values={"go": 1.0, "stay": -2.0}
)
STEP = Step(observation="Où?\n\u2028", admissible_commands=("go", "stay"), decision=DECISION, reward=1.0, score=1.0)
EPISODE = Episode(
    index=3,
    game="corridor",
    seed=17,
    steps=(STEP, replace(STEP, advantage=-0.5)),
    final_observation="There.",
    score=1.0,
    max_score=None,
    won=True,
    lost=False,
    terminated=True,
    truncated=False,
    moves=2,
)


def test_an_episode_survives_json() -> None:
    assert Episode.from_json(json.loads(json.dumps(EPISODE.to_json()))) == EPISODE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"won": 1}, "won: .*boolean"),
        ({"index": "3"}, "index: .*integer"),
        ({"colour": "red"}, "missing or unknown: colour"),
        ({"error": ...}, "missing or unknown: error"),
        ({"seed": ...}, "seed: .*required"),
        ({"score": float("nan")}, "not JSON compliant"),
    ],
)
def test_a_damaged_episode_is_refused(change: dict[str, Any], message: str) -> None:
    data = {**EPISODE.to_json(), **change}
    data = {name: value for name, value in data.items() if value is not ...}
    with pytest.raises(AgentError, match=message):
        Episode.from_json(data)


def test_an_unknown_field_deep_inside_is_refused() -> None:
    data = EPISODE.to_json()
    data["steps"][1]["decision"]["mood"] = "good"
    with pytest.raises(AgentError, match="mood"):
        Episode.from_json(data)


def test_a_number_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    broken = replace(EPISODE, score=float("inf"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        append(tmp_path / "t.jsonl", [Entry(iteration=0, episode=broken)])
    assert not (tmp_path / "t.jsonl").exists()


def test_a_transcript_survives_a_file(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    entries = [Entry(iteration=number, episode=replace(EPISODE, index=number)) for number in range(3)]
    append(path, entries[:2])
    append(path, entries[2:])
    assert list(read(path)) == entries
    assert len(path.read_bytes().split(b"\n")) == 4, "one line for each episode"


@pytest.mark.parametrize(
    "damage",
    [b'{"iteration": 1, "epis', b"{}\n", b"\n", b'{"iteration": "1", "episode": {}}\n', b"[1]\n", b"NaN\n"],
)
def test_a_damaged_line_is_named(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "t.jsonl"
    append(path, [Entry(iteration=0, episode=EPISODE)])
    path.write_bytes(path.read_bytes() + damage)
    with pytest.raises(AgentError, match=r"t\.jsonl, line 2 is damaged"):
        list(read(path))


def test_a_folder_without_a_transcript_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (Path(NAME), tmp_path / NAME):
        with pytest.raises(AgentError, match=f"^{tmp_path} holds no {NAME}; expected the folder of a run"):
            list(read(path))
    with pytest.raises(AgentError, match=f"^nowhere/{NAME} does not exist; expected the folder of a run"):
        list(read(Path("nowhere", NAME)))


def test_episodes_are_not_saved_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AgentError, match="file is a file; expected a folder"):
        recorder(tmp_path / "file")


def test_a_missing_or_foreign_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="does not exist"):
        list(read(tmp_path / "none.jsonl"))
    (tmp_path / "foreign").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AgentError, match="not UTF-8"):
        list(read(tmp_path / "foreign"))
