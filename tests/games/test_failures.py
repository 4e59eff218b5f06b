"""When failures of episodes end a run."""

import pytest

import games
from games.failures import IN_A_ROW, Failures


def test_three_alike_in_a_row_end_the_run() -> None:
    failures = Failures()
    for kind, error in (("a", "x"), ("a", "x"), ("", None), ("a", "x"), ("b", "y"), ("a", "x"), ("a", "x")):
        failures.record("g", error, kind)
    with pytest.raises(games.FatalGameError) as fatal:
        failures.record("file.py:Guess?word=a%26b", "no way", "a")
    expected = "3 episodes in a row failed alike; the last: file.py:Guess?word=a%26b: no way; correct the game"
    assert str(fatal.value) == f"{expected}, or choose another"
    assert (failures.count, failures.episodes) == (7, 8)


def test_an_episode_that_starts_separates_failures_to_start() -> None:
    failures = Failures()
    for _ in range(4):
        failures.record("g", "x", "a", at_start=True)
        failures.record("g", "x", "a", at_start=True)
        failures.started()
    failures.record("g", "x", "a")
    failures.record("g", "x", "a")
    failures.started()
    with pytest.raises(games.FatalGameError, match="3 episodes in a row failed alike"):
        failures.record("g", "x", "a")


def test_many_different_failures_in_a_row_end_the_run() -> None:
    failures = Failures()
    failures.record("g", "x", "kind")
    failures.record("g", None, "")
    for number in range(IN_A_ROW - 1):
        failures.record("g", "x", f"kind {number}")
    with pytest.raises(games.FatalGameError, match=rf"\A{IN_A_ROW} episodes in a row failed; the last: g: y; correct"):
        failures.record("g", "y", "another")


@pytest.mark.parametrize(("errors", "fails"), [((), False), ((None,), False), (("x", None), False), (("x", "y"), True)])
def test_a_run_in_which_all_episodes_fail_is_an_error(errors: tuple[str | None, ...], fails: bool) -> None:
    failures = Failures()
    for number, error in enumerate(errors):
        failures.record("g", error, str(number))
    if not fails:
        failures.check()
        return
    with pytest.raises(games.FatalGameError, match=r"\A2 of 2 episodes failed; the last: g: y; correct the game"):
        failures.check()


def test_failures_that_were_counted_separately_add_up() -> None:
    parts = Failures(), Failures(), Failures()
    for part, errors in zip(parts, ((None,), ("x", None), (None, "y")), strict=True):
        for error in errors:
            part.record("g", error, "a")
    total = Failures.total(parts)
    assert total.summary == "2 of 5 episodes failed; the last: g: y"
    assert Failures.total(parts[:1]).count == 0 and Failures.total(parts[:2]).last == "g: x"


def test_the_game_is_named_once() -> None:
    failures = Failures()
    failures.record("file.py:Guess?seed=3", "file.py:Guess: no way", "a")
    assert failures.summary == "1 of 1 episodes failed; the last: file.py:Guess: no way"


def test_episodes_that_are_live_at_the_same_time_may_fail_together() -> None:
    """Four live episodes of a flaky game fail at the same turn. The next one that succeeds ends the row."""
    failures = Failures(parallel=4)
    for _ in range(3):
        for _ in range(5):
            failures.record("g", "x", "a")
        failures.record("g", None, "")
    for _ in range(5):
        failures.record("g", "x", "a")
    with pytest.raises(games.FatalGameError, match="6 episodes in a row failed alike"):
        failures.record("g", "x", "a")
