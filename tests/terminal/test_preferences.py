"""The smallest form of reinforcement learning from human feedback: pairs, a reward model, and PPO against it."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from agents.config import ModelConfig
from agents.model.build import assemble
from agents.storage.checkpoint import save_agent
from agents.storage.run_folder import read_metrics
from agents.text.preferences import read_preferences
from games.completion import resolve_reward
from tests.conftest import Command
from tests.helpers.preferences import PROMPTS, save_trunk, separable

GAME = "completion?prompts=prompts.jsonl&max_tokens=4"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a trunk, prompts and an agent that writes freely."""
    trunk = save_trunk(tmp_path / "trunk")
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS))
    config = ModelConfig(trunk=str(trunk), lora=2, q_heads=0)
    about = {"name": "writer", "prompt": "plain", "mode": "free", "context": 64}
    save_agent(tmp_path / "writer", *assemble(config, None), config, about)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_pairs(command: Command, *more: str) -> tuple[int, str, str]:
    usual = {"--judge": "letter:r", "--out": "data/pairs.jsonl"}
    options = (word for name, value in usual.items() if name not in more for word in (name, value))
    return command("make-pairs", "--game", GAME, "--agent", "writer", *options, *more)


def test_pairs_a_reward_model_and_ppo_against_it(command: Command, place: Path) -> None:
    status, out, err = make_pairs(command, "--pairs", "24", "--json")
    assert (status, err) == (0, "")
    made = json.loads(out)
    assert (made["pairs"], made["out"], made["judge"]) == (24, "data/pairs.jsonl", "letter:r")
    pairs = read_preferences(place / "data" / "pairs.jsonl")
    assert len(pairs) == 24
    judge = resolve_reward("letter:r")
    for pair in pairs:
        better, worse = judge([pair.prompt] * 2, [pair.chosen, pair.rejected])
        assert better > worse

    words = ("train-reward", "--pairs", "data/pairs.jsonl", "--out", "rm", "--trunk", "trunk", "--lora", "2")
    status, out, err = command(*words, "--epochs", "2", "--held-out", "0.3", "--json")
    assert (status, err) == (0, "")
    trained = json.loads(out)
    assert trained["trained"]["pairs"] + trained["held_out"]["pairs"] == 24
    assert 0 <= trained["held_out"]["low"] <= trained["held_out"]["value"] <= trained["held_out"]["high"] <= 1
    assert json.loads((place / "rm" / "agent.json").read_text())["held_out"] == trained["held_out"]

    words = ("train", "--game", f"{GAME}&reward=rm:rm", "--out", "run", "--trunk", "trunk", "--lora", "2")
    small = ("--optimizer", "ppo", "--mode", "free", "--episodes", "4", "--iterations", "1", "--epochs", "1")
    status, out, err = command(*words, *small, "--json")
    assert status == 0, err
    (metrics,) = read_metrics(place / "run")
    assert metrics["reward"] == pytest.approx(json.loads(out)["metrics"]["reward"])
    assert metrics["reward"] != 0.0


def test_the_same_seed_makes_the_same_pairs_and_tells_their_number(command: Command, place: Path) -> None:
    texts = []
    for name, seed in (("a.jsonl", "1"), ("b.jsonl", "1"), ("c.jsonl", "2")):
        status, out, _ = make_pairs(command, "--pairs", "3", "--seed", seed, "--out", name)
        assert status == 0 and f"3 pairs in {name}" in " ".join(out.split())
        texts.append((place / name).read_text())
    assert texts[0] == texts[1] != texts[2]
    assert make_pairs(command, "--pairs", "3", "--out", "a.jsonl") == (
        2, "", "error: a.jsonl already exists; choose another --out\n"
    )  # fmt: skip
    assert (place / "a.jsonl").read_text() == texts[0]


def test_the_report_of_train_reward_shows_the_interval(command: Command) -> None:
    assert make_pairs(command, "--pairs", "8")[0] == 0
    words = ("train-reward", "--pairs", "data/pairs.jsonl", "--out", "rm", "--trunk", "trunk", "--lora", "0")
    status, out, _ = command(*words, "--epochs", "1")
    assert status == 0
    assert "accuracy on the held-out pairs: " in out and "95% interval" in out and "reward=rm:rm" in out
    assert command(*words, "--lr", "1e-3") == (
        2, "", "error: rm already holds a reward model; choose another --out\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--pairs", "nowhere.jsonl"), "nowhere.jsonl is missing"),
        (("--pairs", "bad.jsonl"), "bad.jsonl:1: expected a JSON object with the texts prompt, chosen, rejected"),
        (("--pairs", "one.jsonl"), "no preference is left for training"),
        (("--pairs", "one.jsonl", "--out", "trunk"), "trunk holds other files"),
        (("--pairs", "one.jsonl", "--held-out", "0", "--trunk", "small"), "--lora adapts a pretrained trunk"),
        (("--pairs", "one.jsonl", "--held-out", "0", "--trunk", "nowhere"), "no pretrained model 'nowhere'"),
    ],
)
def test_mistakes_are_one_line(command: Command, place: Path, words: tuple[str, ...], says: str) -> None:
    (place / "bad.jsonl").write_text("{}\n")
    (place / "one.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    status, out, err = command("train-reward", *words, *(() if "--out" in words else ("--out", "rm")))
    assert (status, out) == (2, "")
    assert says in err and err.count("\n") == 1
    assert not (place / "rm").exists()


def test_pairs_are_not_written_over_a_folder(command: Command) -> None:
    status, _, err = make_pairs(command, "--out", "trunk")
    assert status == 2 and err == "error: trunk is a folder; expected the name of a file, such as pairs.jsonl\n"


def test_a_reward_model_that_diverges_is_not_saved(command: Command, place: Path) -> None:
    (place / "pairs.jsonl").write_text("".join(json.dumps(asdict(pair)) + "\n" for pair in separable(40)))
    words = ("train-reward", "--pairs", "pairs.jsonl", "--out", "rm", "--trunk", "trunk", "--lora", "0")
    status, out, err = command(*words, "--lr", "1e36")
    assert (status, out) == (1, "")
    assert err.startswith("error: the training diverged: ") and err.endswith("; nothing is saved; try a lower --lr\n")
    assert err.count("\n") == 1 and not (place / "rm").exists() and not (place / ".rm.part").exists()


def test_a_judge_whose_rewards_are_not_finite_makes_no_pairs(command: Command, place: Path) -> None:
    (place / "judge.py").write_text("def nan(prompts, completions):\n    return [float('nan')] * len(prompts)\n")
    status, out, err = make_pairs(command, "--pairs", "4", "--judge", "judge.py:nan")
    assert (status, out) == (2, "")
    assert "expected one finite number for each completion" in err and err.count("\n") == 1
    assert not (place / "data").exists()
