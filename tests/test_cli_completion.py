"""Every command plays the completion game with every reward."""

import json
from pathlib import Path

import pytest

import agents
from agents.training.factory import make_trainer
from agents.training.presets import resolve
from tests.conftest import Command
from tests.helpers.models import tiny_lm, tokenizer

REWARDS = ["sentiment", "letter:t", "length", "contains:lamp", "FILE.py:score", "sentiment*1,length*-0.01"]


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, words = tmp_path_factory.mktemp("trunk"), tokenizer()
    tiny_lm("llama", len(words)).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents that need SmolLM2 cannot be loaded."""
    make = agents.make_agent

    def refuse(name: str, **settings: object) -> agents.Agent:
        if name == "smollm2":
            raise agents.AgentError("smollm2 is not here")
        return make(name, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(agents, "make_agent", refuse)


@pytest.mark.parametrize("reward", REWARDS)
def test_every_command_plays_with_every_reward(
    reward: str, trunk: Path, tmp_path: Path, command: Command, alone: None
) -> None:
    (tmp_path / "rewards.py").write_text(
        "def score(prompts, completions):\n    return [len(t) / 9 for t in completions]"
    )
    reward = reward.replace("FILE", str(tmp_path / "rewards"))
    game, run = f"completion?reward={reward}&max_tokens=3", str(tmp_path / "run")
    probe = ("--probe-prompts", "heldout", "--probe-every", "1", "--judge", "length")
    tiny = ("--trunk", str(trunk), "--episodes", "4", "--minibatches", "1", *probe)
    status, shown, errors = command("train", "--game", game, "--out", run, "--iterations", "1", *tiny)
    assert (status, errors) == (0, "") and "1/1" in shown
    code = ("--import", str(tmp_path / "rewards.py")) if ".py" in reward else ()
    status, shown, errors = command("train", "--resume", "--out", run, "--iterations", "2", "--json", *code)
    assert (status, errors) == (0, "")
    metrics = json.loads(shown)["metrics"]
    assert metrics["iteration"] == 1 and metrics["turn_entropy"] > 0 and metrics["kl_ref"] >= 0
    probes = [json.loads(line) for line in Path(run, "probes.jsonl").read_text().splitlines()]
    assert [probe["iteration"] for probe in probes] == [0, 1, 2]
    assert probes[0]["kl"] == pytest.approx(0, abs=1e-6) and len(probes[2]["texts"]) == 48
    assert all(probe["true_reward"] <= 3 for probe in probes)

    status, shown, errors = command("play", "--agent", run, "--game", game)
    assert status == 0 and " p 0." in shown and " q " in shown
    assert errors.startswith("the agent does not know some words of the game, such as ") and errors.count("\n") == 1
    played = json.loads(command("play", "--agent", run, "--game", game, "--temperature", "0.5", "--json")[1])
    assert 1 <= len(played["episodes"][0]["steps"][0]["decision"]["tokens"]) <= 3
    (row,) = json.loads(command("evaluate", "--agent", run, "--game", game, "--episodes", "3", "--json")[1])
    assert row["texts"]["token_entropy"]["value"] > 0 and row["texts"]["tokens"]["value"] <= 3
    assert "self-BLEU" in command("evaluate", "--agent", run, "--game", game, "--episodes", "3")[1]
    watched = json.loads(command("watch", run, "--json")[1])
    assert len(watched) == 4 and watched[0]["steps"][0]["decision"]["tokens"]


@pytest.mark.slow
def test_compare_measures_texts(trunk: Path, tmp_path: Path, command: Command) -> None:
    words = ("--game", "completion?reward=length&max_tokens=3", "--trunk", str(trunk), "--seeds", "0,1")
    short = ("--episodes", "4", "--iterations", "2", "--evaluations", "6", "--reward-scale", "0.1")
    status, _, errors = command("compare", "--out", str(tmp_path / "report"), *words, *short)
    assert status == 0, errors
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    assert len(results["runs"]) == 4
    for row in results["runs"]:
        texts = row["collapse"]["texts"]
        assert texts["kl"] >= 0 and texts["entropy"] > 0 and len(texts["samples"]) == 6
    report = (tmp_path / "report" / "README.md").read_text()
    assert "| commonest opening |" in report and "continued by the agents" in report


def test_an_agent_that_chooses_commands_is_refused_in_one_line(command: Command) -> None:
    status, shown, errors = command("play", "--agent", "random", "--game", "completion")
    assert (status, shown) == (2, "") and errors.count("\n") == 1
    assert "offers no admissible commands" in errors


def test_a_reward_that_fails_stops_the_run_in_one_line_and_loses_nothing(
    trunk: Path, tmp_path: Path, command: Command
) -> None:
    """It fails in the second rollout, after the probe and the first rollout."""
    scorer, run = tmp_path / "rewards.py", tmp_path / "run"
    scorer.write_text(
        "calls = []\ndef score(prompts, texts):\n    calls.append(texts)\n"
        "    return [1.0] * len(texts) if len(calls) < 6 else [float('nan')]\n"
    )
    words = ("--game", f"completion?reward={scorer}:score&max_tokens=2", "--trunk", str(trunk), "--episodes", "4")
    status, _, errors = command("train", *words, "--out", str(run), "--iterations", "3", "--minibatches", "1")
    assert status == 2
    (line,) = [line for line in errors.splitlines() if "reward" in line]
    assert "expected one finite number for each completion" in line and "Traceback" not in errors
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 1
    scorer.write_text("def score(prompts, texts):\n    return [1.0] * len(texts)\n")
    assert f"add --import {scorer}" in command("train", "--out", str(run), "--resume")[2]
    status = command("train", "--out", str(run), "--resume", "--import", str(scorer), "--json")[0]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert status == 0 and [line["episodes"] for line in lines] == [4, 8, 12]


def test_a_judge_that_fails_loses_nothing_and_its_probe_is_measured_after_the_resumption(
    trunk: Path, tmp_path: Path, command: Command
) -> None:
    judge, run = tmp_path / "judge.py", tmp_path / "run"
    judge.write_text(
        "calls = []\ndef score(prompts, texts):\n    calls.append(texts)\n"
        "    if len(calls) == 3:\n        raise OSError('no connection')\n    return [0.0] * len(texts)\n"
    )
    words = ("--game", "completion?reward=length&max_tokens=2", "--trunk", str(trunk), "--episodes", "4")
    probe = ("--probe-prompts", "heldout", "--probe-every", "1", "--judge", f"{judge}:score", "--reward-scale", "0.1")
    status, _, errors = command("train", *words, *probe, "--out", str(run), "--iterations", "3", "--minibatches", "1")
    assert status == 2 and "OSError: no connection (judge.py, line 5)" in errors and errors.count("\n") == 1
    judge.write_text("def score(prompts, texts):\n    return [0.0] * len(texts)\n")
    assert command("train", "--out", str(run), "--resume", "--import", str(judge), "--json")[0] == 0
    for name, expected in (("metrics", [0, 1, 2]), ("probes", [0, 1, 2, 3])):
        lines = [json.loads(line) for line in (run / f"{name}.jsonl").read_text().splitlines()]
        assert [line["iteration"] for line in lines] == expected, name


def test_a_run_that_is_killed_before_its_first_checkpoint_measures_the_initial_policy_once(
    trunk: Path, tmp_path: Path
) -> None:
    game = "completion?reward=length&max_tokens=2"
    settings = {"game": game, "trunk": str(trunk), "episodes": 4, "iterations": 2, "probe_prompts": "heldout"}
    trainer = make_trainer(resolve(settings | {"reward_scale": 0.1, "minibatches": 1}), tmp_path / "run")
    next(trainer.run())
    trainer.folder.unlock()
    list(make_trainer(trainer.config, tmp_path / "run", resume=True).run())
    lines = [json.loads(line) for line in (tmp_path / "run" / "probes.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [0, 2]


def test_a_judge_needs_prompts_and_names_keep_their_colons(trunk: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "s.py").write_text("def boom(prompts, texts):\n    raise ValueError('my bug')\n")
    words = ("--trunk", str(trunk), "--episodes", "4", "--out", str(tmp_path / "run"))
    status, _, errors = command("train", "--game", "completion", "--judge", "sentiment", *words)
    assert status == 2 and "--judge sentiment needs --probe-prompts" in errors
    status, _, errors = command("train", "--game", f"completion?reward={tmp_path}/s.py:boom", *words)
    assert status == 2 and "s.py:boom: expected" in errors and "ValueError: my bug (s.py, line 2)" in errors
