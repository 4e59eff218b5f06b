"""Benchmarks of playing and training run at their smallest size, and their peers compute the same quantities."""

import json
import math
import mmap
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actde import ACTDE, Batch, OptimizerConfig, Outputs
from agents.training import presets
from benchmarks import (
    bare_trunk,
    commands,
    communication,
    growth,
    grpo,
    harness,
    household,
    learning_time,
    prefix_sharing_processes,
    same_loss,
    sharded_play,
    suites,
    summary,
    turns,
    update,
)
from benchmarks.bare_trunk import NO_LEARNING
from benchmarks.peers import plain_dilemma
from benchmarks.peers.plain_dilemma import Loop, taken
from benchmarks.peers.scoring import over_choices, over_commands
from benchmarks.players import Player
from benchmarks.recorded_episodes import OTHERS, recorded_episodes
from benchmarks.update import Worker
from tests import ROOT

RECORDED = ROOT / "benchmarks" / "update.json"
SMALLEST = ["--rounds", "1", "--threads", "1"]


def run(benchmark: Any, out: Path, *arguments: str) -> dict[str, Any]:
    """Run a benchmark, check the common part of its document, and return the rest."""
    benchmark.main([*arguments, *SMALLEST, "--out", str(out)])
    document: dict[str, Any] = json.loads(out.read_text())
    about = document.pop("about")
    assert about["command"].startswith(f"python -m {benchmark.__name__} ")
    assert about["torch"] == version("torch")
    assert about["settings"]["rounds"] == 1
    return document


def test_peers_alternate_and_ratios_are_within_a_round() -> None:
    order: list[str] = []
    times = {"a": iter([9.0, 1.0, 4.0]), "b": iter([9.0, 2.0, 2.0])}

    def peer(name: str) -> float:
        order.append(name)
        return next(times[name])

    seconds = harness.alternate({name: (lambda name=name: peer(name)) for name in times}, 2)  # type: ignore[misc]
    assert order == ["a", "b"] * 3
    assert seconds == {"a": [1.0, 4.0], "b": [2.0, 2.0]}
    assert harness.ratios(seconds["a"], seconds["b"]) == {"median": 1.25, "least": 0.5, "most": 2.0}


@pytest.mark.slow
def test_a_tape_has_the_requested_number_of_commands_or_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.recorded_episodes.OTHERS", OTHERS[:1])
    (tape,) = recorded_episodes(1, 6, commands=12)
    assert [len(scene.commands) for scene in tape.scenes] == [12] * 6
    assert tape.scenes[5].commands == tuple(sorted(set(tape.scenes[5].commands)))
    assert tape.scenes == recorded_episodes(1, 8, commands=12)[0].scenes[:6]
    with pytest.raises(ValueError, match="at most"):
        recorded_episodes(1, 6, commands=10_000)


def test_floor(tmp_path: Path) -> None:
    (row,) = run(bare_trunk, tmp_path / "bare_trunk.json", "--trunks", "small", "--episodes", "2", "--turns", "2")[
        "rows"
    ]
    assert row["choices"] >= 4 and row["tokens"] > 400
    seconds = row["seconds"]
    assert row["rollout"]["median"] == pytest.approx(seconds["rollout"][0] / seconds["forward"][0], rel=1e-4)
    assert row["update"]["median"] == pytest.approx(seconds["update"][0] / seconds["backward"][0], rel=1e-4)


def test_three_methods_to_choose_have_the_same_probabilities(tmp_path: Path) -> None:
    small = ("--trunk", "small", "--dtype", "float32")
    rows = run(commands, tmp_path / "commands.json", *small, "--commands", "7", "--turns", "1,3")["rows"]
    assert [(row["commands"], row["turn"]) for row in rows] == [(7, 1), (7, 3)]
    for row in rows:
        assert set(row["ratios"]) == set(row["off"]) == {"passes", "copies"}
        assert max(row["off"].values()) < 1e-5
        assert 0.01 < row["policies_differ"] <= 1


def test_two_normalisations_of_known_scores() -> None:
    commands_tokens = [[1, 2], [1, 3], [4, 2]]
    scores = [np.log([0.2, 0.5]), np.log([0.2, 0.1]), np.log([0.1, 0.4])]
    assert over_commands(scores) == pytest.approx(np.array([0.10, 0.02, 0.04]) / 0.16)
    assert over_choices(scores, commands_tokens) == pytest.approx([2 / 3 * 5 / 6, 2 / 3 * 1 / 6, 1 / 3])


def test_turns(tmp_path: Path) -> None:
    figure = tmp_path / "turns.svg"
    small = ("--trunk", "small", "--dtype", "float32", "--turns", "6", "--figure", str(figure))
    results = run(turns, tmp_path / "turns.json", *small)
    assert [row["turn"] for row in results["rows"]] == [1, 2, 3, 4, 5, 6]
    assert all(row["same_tokens"] and row["off"] < 1e-5 for row in results["rows"])
    assert [row["tokens"] for row in results["rows"]] == sorted(row["tokens"] for row in results["rows"])
    assert set(results["episodes"]) == {"1", "5", "6"}
    assert figure.stat().st_size > 1000


def test_a_text_longer_than_the_context_is_refused() -> None:
    player = Player({"trunk": "small", "optimizer": "actde"})
    player.model.base.config.max_position_embeddings = 300
    with pytest.raises(ValueError, match="do not fit into 300; choose fewer turns"):
        turns.measure(player, 6, None, 1)


def test_growth(tmp_path: Path) -> None:
    figure = tmp_path / "growth.svg"
    smallest = ("--sweeps", "live", "--sizes", "2", "--no-memory")
    results = run(growth, tmp_path / "growth.json", *smallest, "--figure", str(figure))
    rows = results["sweeps"]["live"]
    assert [row["n"] for row in rows] == [1, 2]
    assert rows[1]["tokens"] == pytest.approx(2 * rows[0]["tokens"], rel=0.05)
    assert set(results["exponents"]["live"]) == {"rollout s", "update s", "forward s"}
    assert figure.stat().st_size > 1000


# the environment of TextWorldExpress does not close the pipe to its Java process
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_suites_alone_and_behind_our_interface_play_the_same_steps(tmp_path: Path) -> None:
    names = ["express:coin?seed=1&numLocations=3", "textarena:FrozenLake-v0?seed=1&choices=[up],[down],[left],[right]"]
    rows = run(suites, tmp_path / "suites.json", "--games", *names, "--steps", "150")["rows"]
    for row, name in zip(rows, names, strict=True):
        assert (row["game"], row["compared"], row["differences"]) == (name, 300, 0)
        assert row["episodes"] >= 2
        assert row["ratio"]["median"] == pytest.approx(row["seconds"]["suite"][0] / row["seconds"]["ours"][0], rel=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # TextWorld does not close the file
def test_textworld_alone_and_behind_our_interface_play_the_same_steps_of_a_pddl_game(tmp_path: Path) -> None:
    (row,) = run(suites, tmp_path / "suites.json", "--games", household.NAME, "--steps", "50")["rows"]
    assert (row["game"], row["compared"], row["differences"]) == (household.NAME, 100, 0)


@pytest.mark.slow
def test_the_gradients_of_a_step_are_sent_once_with_a_number_per_tensor(tmp_path: Path) -> None:
    document = run(communication, tmp_path / "out.json", "--length", "4")
    for trunk in document["trunks"].values():
        sizes = {peer: trunk[peer]["bytes"] // 4 for peer in ("backward", "ours", "tensors", "ddp")}
        numbers, tensors = trunk["parameters"], trunk["tensors"]["messages"]
        assert sizes == {"backward": 0, "ours": numbers + tensors, "tensors": numbers, "ddp": numbers}
        assert trunk["ours"]["messages"] == 1 < trunk["ddp"]["messages"] < trunk["tensors"]["messages"]


@pytest.mark.slow
def test_a_pass_by_layer_receives_half_of_the_layers_and_a_split_one_only_states(tmp_path: Path) -> None:
    document = run(sharded_play, tmp_path / "out.json", "--rows", "1", "--length", "3")
    layers = 12 * (4 * 768**2 + 3 * 768 * 2048 + 2 * 768)
    for case, tokens in (("decode", 1), ("read", 3)):
        found = document["cases"][case]["received"]
        assert (found["whole"], found["layers"]) == (0, 4 * layers // 2 + 8)  # 8 for whose turn it is, twice
        assert found["tensors"] == 4 * 2 * tokens * 768 * 25  # two sums a layer, and that of the embeddings


def test_exponents_of_known_powers() -> None:
    fitted = growth.exponents([1, 2, 4], [[3.0, 1.0], [12.0, 2.0], [48.0, 4.0]])  # 3 n^2 and n
    for fit in fitted.values():
        assert fit == pytest.approx({"median": 1.5, "least": 1.0, "most": 2.0})


def test_the_peak_of_memory_is_measured_and_reset() -> None:
    from benchmarks.memory import peak, reset_peak, resident

    before = resident()
    reset_peak()
    assert peak() - before < 5e6
    with mmap.mmap(-1, 100_000_000) as held:  # new pages; the heap may have free ones
        for page in range(0, len(held), mmap.PAGESIZE):
            held[page] = 1
        assert peak() - before > 0.95e8
    assert peak() - before > 0.95e8
    reset_peak()
    assert peak() - before < 5e7


def test_our_update_has_the_policy_loss_of_trl() -> None:
    loss = json.loads(RECORDED.read_text())["loss"]
    theirs = loss["step"]["policy_loss"]
    assert abs(theirs) > 0.01  # the policy has changed: at ratio 1 whitened advantages give 0
    assert same_loss.ours(loss["step"]) == pytest.approx(theirs, abs=2e-6)


def test_trls_prompts_have_as_many_tokens_as_our_episodes() -> None:
    rollout = {"segments": [list(range(30)), list(range(24))], "choices": [[(9, 0), (10, 0), (29, 1)], [(23, 0)]]}
    streams, answer = update.prompts(rollout, "stream")
    assert answer == 2
    assert [len(prompt) + answer for prompt in streams] == [30, 24]
    turns_apart, answer = update.prompts(rollout, "turns")
    assert answer == 1
    assert [len(prompt) for prompt in turns_apart] == [10, 30, 24]
    assert update.rows_at_once(8, 900, 2048) == 2
    assert update.rows_at_once(3, 900, 2048) == 1
    assert update.rows_at_once(8, 4000, 2048) == 1


def test_trls_openings_are_those_of_our_groups() -> None:
    segments = [[1, 2, 3, 9], [1, 2, 3, 8, 7], [4, 5], [4, 6, 5]]
    choices = [[(2, 0)], [(2, 0), (3, 0)], [(0, 0)], [(0, 0), (1, 0)]]
    rollout = {"segments": segments, "choices": choices}
    assert grpo.prompts(rollout, 2) == [[1, 2, 3], [4]]
    with pytest.raises(ValueError, match="differ"):
        grpo.prompts(rollout, 4)


def test_both_jobs_of_grpo_have_the_same_numbers_of_completions_and_steps() -> None:
    options = grpo._options(["--peer", sys.executable, "--completions", "12", "--group", "3", "--minibatches", "2"])
    ours, trl = grpo.own_job(options, "model"), grpo.trl_job(options, "model", ["a", "b", "c", "d"])
    settings = presets.resolve(ours["settings"])
    assert settings.rollout.episodes == ours["episodes"] == len(trl["prompts"]) * trl["group"] == 12
    assert settings.rollout.group_size == trl["group"] == 3
    assert (settings.update.epochs, settings.update.minibatches) == (trl["epochs"], trl["minibatches"]) == (2, 2)
    assert trl["micro"] * trl["minibatches"] == 12
    assert not settings.optimizer.needs_reference
    smollm2 = presets.resolve({"game": ours["settings"]["game"], "optimizer": "grpo"} | NO_LEARNING).flat()
    differ = {name for name, value in settings.flat().items() if value != smollm2[name]}
    assert differ - {"dtype"} == {
        "trunk",
        "episodes",
        "parallel",
        "group_size",
        "measure_kl",
        "q_lr",
        "dueling",
        "detach_value",
        "detach_q",
    }


@pytest.mark.slow
def test_our_peer_answers_each_line_and_its_completions_form_groups() -> None:
    options = grpo._options(["--peer", sys.executable, "--completions", "4", "--group", "2", "--tokens", "3"])
    job = grpo.own_job(options, "small")
    job["settings"] |= {"dtype": "float32", "lora": 0}
    with Worker(Path(sys.executable), "benchmarks.peers.own_trainer", job | {"threads": 1}, 1) as worker:
        rollout = worker.answer()
        assert len(grpo.prompts(rollout, 2)) == 2
        assert all(1 <= len(choices) <= 3 for choices in rollout["choices"])
        assert worker.step() > 0 and worker.steps[0]["update"] < worker.steps[0]["seconds"]
        assert worker.steps[0]["peak"] > worker.libraries > 0


def test_a_peer_that_ends_early_is_reported_with_its_output() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)peers.none ended early.*No module named"):
        Worker(Path(sys.executable), "benchmarks.peers.none", {}, 1)


def test_the_plain_loop_has_the_losses_of_actde() -> None:
    torch.manual_seed(0)
    loop = Loop()
    tokens, logprobs, values, q = loop.play()
    rewards = loop.payoff[tokens[:, 1:], tokens[:, :-1]]
    old = {"logprobs": taken(logprobs[:, :-1], tokens), "values": values[:, :-1]}
    old_q = taken(q[:, :-1], tokens)
    advantages, returns = plain_dilemma.advantages_and_returns(rewards, values, old_q)
    batch = Batch(
        rewards=rewards,
        discounts=torch.full_like(rewards, 0.5),
        mask=torch.ones_like(rewards, dtype=torch.bool),
        next_values=values[:, 1:],
        q_values=old_q,
        **old,
    )
    optimizer = ACTDE(OptimizerConfig(gamma=0.5, gae_lambda=0.95))
    targets = optimizer.targets(batch)
    torch.testing.assert_close(targets.advantages, advantages)
    torch.testing.assert_close(targets.returns, returns)
    now = {name: x + 0.4 * torch.randn_like(x) for name, x in old.items()}  # some are clipped
    new_q = old_q + torch.randn_like(old_q)
    outputs = Outputs(entropy=torch.zeros_like(rewards), q_values=new_q.unsqueeze(-1), **now)
    loss, _ = optimizer.loss(batch, targets, outputs)
    policy, value = ((now[name], old[name]) for name in ("logprobs", "values"))
    plain = plain_dilemma.total_loss(*policy, *value, new_q, advantages, returns)
    torch.testing.assert_close(plain, loss)


def test_the_plain_loop_computes_the_same_with_its_cache_and_learns() -> None:
    torch.manual_seed(0)
    loop = Loop()
    loop.net.eval()
    tokens, *played = loop.play()
    assert tokens.shape == (64, 101)
    with torch.no_grad():
        whole = loop.net(tokens)
    for cached, read in zip(played, whole[:3], strict=True):
        torch.testing.assert_close(cached, read, rtol=0, atol=1e-5)
    before = [parameter.clone() for parameter in loop.net.parameters()]
    loop.net.train()
    loop.step()
    moved = [float((a - b).detach().abs().max()) for a, b in zip(before, loop.net.parameters(), strict=True)]
    assert all(move > 0 for move in moved) and math.isfinite(sum(moved))


def test_the_last_100_episodes_count_by_their_share_of_an_iteration() -> None:
    seconds = {"off": (10.0, 30.0, 70.0), "auto": (5.0, 15.0, 20.0)}
    runs = [
        {
            "side": side,
            "seed": 3,
            "iterations": [
                {"episodes": 80 * number, "recent_success": 0.9, "processor": time, "wall": 2 * time}
                for number, time in enumerate(times, 1)
            ],
        }
        for side, times in seconds.items()
    ]
    (row,) = learning_time.compared(runs)
    assert row["processor_total"] == {"off": 70.0, "auto": 20.0, "ratio": 3.5}
    assert row["processor_last"] == {"off": 45.0, "auto": 7.5, "ratio": 6.0}  # 80 episodes and a quarter of 80
    assert row["wall_last"] == {"off": 90.0, "auto": 15.0, "ratio": 6.0}
    assert learning_time.compared(runs[:1]) == []


@pytest.mark.slow
def test_iterations_in_fresh_processes_are_equal_and_are_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--agent", "actde-small", "--cases", "groups", "--episodes", "8"]
    document = run(prefix_sharing_processes, tmp_path / "out.json", *arguments)
    (case,) = document["cases"]
    assert case["rounds"] == 1 and case["same_tokens"]
    auto, off = document["rows"]
    assert auto["play_sharing"] > 1.9 and off["play_sharing"] == off["sharing"] == 1
    assert auto["grad_norm"] == pytest.approx(off["grad_norm"], rel=1e-4)
    monkeypatch.setattr(prefix_sharing_processes, "in_fresh_process", None)
    assert run(prefix_sharing_processes, tmp_path / "out.json", *arguments)["rows"] == document["rows"]


def test_the_page_follows_from_the_files() -> None:
    assert summary.PAGE.read_text("utf-8") == summary.page()
