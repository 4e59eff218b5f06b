"""The expert: which command it labels, by the walkthrough and by `policy_commands`."""

import pytest

from agents.protocol import Turn
from agents.training.dagger import Expert


def asked(admissible: str, *, walkthrough: str = "", policy: str = "") -> Turn:
    """Return a turn whose commands are letters. A turn with a walkthrough is the first of its episode."""
    info = {"admissible_commands": list(admissible), "policy_commands": list(policy)}
    if walkthrough:
        info["extra.walkthrough"] = list(walkthrough)
    return Turn(episode=0, game="g", observation="", info=info, reward=0.0, first=bool(walkthrough))


def test_the_expert_follows_the_walkthrough_until_a_deviation_then_the_policy() -> None:
    expert = Expert(prefer_policy=False)
    assert expert.label(asked("abc", walkthrough="abc", policy="cba")) == 0
    expert.record(asked("abc"), "a")
    assert expert.label(asked("abc", policy="c")) == 1
    expert.record(asked("abc"), "a")  # left it
    assert expert.label(asked("abc", policy="cb")) == 2
    assert expert.label(asked("abc")) is None
    assert expert.label(asked("abc", policy="x")) is None
    expert.end(0)
    assert Expert(prefer_policy=True).label(asked("abc", walkthrough="abc", policy="c")) == 2
    silent = Expert(prefer_policy=True).label(asked("abc", walkthrough="abc"))
    assert silent == 0, "without policy_commands the walkthrough remains"


@pytest.mark.parametrize("walkthrough", ["xab", "axb", "xyaxb"])
def test_the_expert_skips_commands_of_the_walkthrough_that_are_not_admissible(walkthrough: str) -> None:
    expert = Expert(prefer_policy=False)
    assert expert.label(asked("abc", walkthrough=walkthrough, policy="c")) == 0
    expert.record(asked("abc"), "a")
    assert expert.label(asked("abc", policy="c")) == 1
    expert.record(asked("abc"), "b")
    assert expert.label(asked("abc", policy="c")) == 2


def test_lookups_of_the_walkthrough_come_before_a_policy_that_uses_them() -> None:
    expert = Expert(prefer_policy=False)
    assert expert.label(asked("gwx", walkthrough="wreg", policy="eg")) == 1
    expert.record(asked("gwx"), "x")  # left it before anything was looked up
    assert expert.label(asked("gwx", policy="g")) == 1
    expert.record(asked("gwx"), "w")
    assert expert.label(asked("gx", policy="g")) is None, "no label before the look-up r is admissible"
    assert expert.label(asked("gr", policy="g")) == 1
    expert.record(asked("gr"), "r")
    assert expert.label(asked("gx", policy="g")) == 0
    expert.end(0)
    assert Expert(prefer_policy=True).label(asked("gwx", walkthrough="wreg", policy="g")) == 0
