"""Random turns in a model's own play, and rejection sampling by transition in whole runs."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from actde.errors import ConfigError
from agents.play import transcript
from agents.training.factory import make_trainer
from tests.agents.training.test_recorded_play import assert_same_segments, episodes_of
from tests.agents.training.test_trainer import assert_same_run, settings, trained
from tests.helpers.models import agent, tiny_model
from tests.helpers.scripts import Scene, ScriptSpec

ROOM = ScriptSpec([[Scene("room", dict.fromkeys(("go north", "go south", "take lamp", "take key"), 0.0))]])
RUN: dict[str, Any] = {"optimizer": "rejection-transition", "top_actions": 3, "kl_coef": 0.1, "kl_target": None}


def commands(**settings: Any) -> Counter[str]:
    """The commands of 200 turns at temperature 0.001, which plays the likeliest command."""
    player = agent(tiny_model(), temperature=0.001, **settings)
    return Counter(episode.steps[0].decision.command for episode in episodes_of(player, 200, spec=ROOM))


def test_random_turns_play_every_command_alike() -> None:
    (likeliest,) = commands()
    found = commands(random_share=0.5)
    assert len(found) == 4 and 105 < found.pop(likeliest) < 145  # 200 (0.5 + 0.5 / 4) = 125, within 3 sigma
    assert all(9 < count < 41 for count in found.values())


@pytest.mark.parametrize("beta", [0.0, 3.0])
def test_the_recorded_numbers_of_a_random_turn_are_those_of_the_policy(beta: float) -> None:
    player = agent(tiny_model(), random_share=1.0, guide_beta=beta)
    (episode,) = episodes_of(player, 1, spec=ROOM)
    (segment,) = player.take_segments()
    decision = episode.steps[0].decision
    logprob = sum(choice.logprob for choice in segment.choices)
    assert logprob == pytest.approx(math.log(decision.probabilities[decision.command]))


def test_without_random_turns_no_random_number_is_drawn() -> None:
    plays = [agent(tiny_model(), **given) for given in ({}, {"random_share": 0.0})]
    for player in plays:
        episodes_of(player, 6)
    assert_same_segments(plays[0].take_segments(), plays[1].take_segments())


@pytest.mark.parametrize("more", [{"random_share": 0.25, "importance_weighting": True}, {"data": "random:9"}])
def test_a_resumed_run_equals_an_uninterrupted_one(more: dict[str, Any], tmp_path: Path) -> None:
    wanted = settings("bandit", **RUN, **more)
    whole = trained(wanted, tmp_path / "whole")
    part = trained(wanted.replace(iterations=3), tmp_path / "part")
    assert_same_run(trained(wanted, part, resume=True), whole)
    if "data" not in more:
        weights = [step.advantage for entry in transcript.read(whole / transcript.NAME) for step in entry.episode.steps]
        assert Counter(weights) == {0.0: 18, 2.0: 18}, "3 of the 6 actions of each rollout are imitated"


@pytest.mark.parametrize("changes", [{"optimizer": "ppo"}, {"optimizer": "rejection", "mode": "free"}])
def test_random_turns_need_an_optimizer_that_learns_off_policy(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--random-share plays admissible commands"):
        make_trainer(settings("bandit", random_share=0.1, **changes), tmp_path / "run")
