"""A run is not resumed if the files of its games have changed since its checkpoint."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.protocol import AgentError
from agents.storage.resume_check import changed_input
from agents.training import presets
from agents.training.factory import make_trainer
from games import GameSpec
from games.completion.input_files import input_files
from games.game_hash import input_digests
from tests.agents.test_completion_rewards import save_classifier


def change_prompts(folder: Path) -> None:
    (folder / "prompts.txt").write_text("you see a\nopen the\n")


def change_model(folder: Path) -> None:
    save_classifier(folder / "hf", labels=1, seed=1)


@pytest.mark.parametrize("change", [change_prompts, change_model])
def test_changed_prompts_and_reward_models_are_noticed(change: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("you see a\ngo\n")
    save_classifier(tmp_path / "hf", labels=1)
    (tmp_path / "word.py").write_text("def word(prompts, texts):\n    return [0.0 for text in texts]\n")
    reward = f"hf:{tmp_path / 'hf'},{tmp_path / 'word.py'}:word"
    small = {"trunk": "pico", "lora": 0, "dtype": "float32", "mode": "trie", "episodes": 2, "parallel": 2}
    game = f"completion?prompts={tmp_path / 'prompts.txt'}&reward={reward}&choices=lamp,key"

    def train(iterations: int, *, resume: bool = True) -> int:
        given = {**small, "game": game, "iterations": iterations, "tracker": "none", "measure_kl": False}
        return len(list(make_trainer(presets.resolve(given), tmp_path / "run", resume=resume).run()))

    assert train(1, resume=False) == 1
    (tmp_path / "word.py").write_text("def word(prompts, texts):\n    return [1.0 for text in texts]\n")
    assert train(2) == 1, "a corrected reward function does not count"
    change(tmp_path)
    with pytest.raises(AgentError, match=r"files of its games have changed: \S+ has changed.*; restore them, or"):
        train(3)


def test_changed_new_and_missing_game_files_are_named(tmp_path: Path) -> None:
    story, record = tmp_path / "a.z8", tmp_path / "a.json"
    spec = GameSpec(str(story), "file", str(story))
    state = tmp_path / "run" / "checkpoints" / "000002" / "state.json"
    state.parent.mkdir(parents=True)
    story.write_text("a story")
    record.write_text("{}")
    state.write_text(json.dumps({"input_files": input_digests([spec])}))
    assert changed_input(tmp_path / "run", 2, [spec]) is None
    moved = tmp_path / "moved.z8"
    shutil.copy(story, moved)
    shutil.copy(record, moved.with_suffix(".json"))
    assert changed_input(tmp_path / "run", 2, [GameSpec(str(moved), "file", str(moved))]) is None
    record.write_text('{"quests": []}')
    assert str(changed_input(tmp_path / "run", 2, [spec])).endswith("have changed: a.json has changed")
    record.unlink()
    story.write_text("new")
    assert str(changed_input(tmp_path / "run", 2, [spec])).endswith("a.z8 has changed (and 1 more)")
    assert str(changed_input(tmp_path / "run", 2, [])).endswith("a.json is missing (and 1 more)")
    state.write_text(json.dumps({"input_files": {}}))
    assert str(changed_input(tmp_path / "run", 2, [spec])).endswith("a.z8 is new")
    state.write_text("{}")
    assert changed_input(tmp_path / "run", 2, [spec]) is None, "a checkpoint of an earlier version"
    assert changed_input(tmp_path / "run", 1, [spec]) is None, "no checkpoint"


def test_a_reward_model_is_its_description_and_a_classifier_all_its_files(tmp_path: Path) -> None:
    for folder, names in (
        ("rm", ["agent.json", "model.safetensors"]),
        ("hf", ["config.json", "model.safetensors", "a.md"]),
    ):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_text(name)
    settings = {"reward": f"rm:{tmp_path / 'rm'},hf:{tmp_path / 'hf'},length"}
    assert [str(file.relative_to(tmp_path)) for file in input_files(settings)] == [
        "rm/agent.json", "hf/config.json", "hf/model.safetensors",
    ]  # fmt: skip
