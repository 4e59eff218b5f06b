"""The vector environment, compared with single environments and with Gymnasium's own vector environments."""

from __future__ import annotations

import functools
import threading
import warnings
from pathlib import Path
from typing import Any, NoReturn, cast

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import games
from games.game_spec import GameSpec
from games.vector import TextVectorEnv, make_textworld_vec, stack_infos
from tests.helpers.fakes import Corridor, CorridorSpec

SIMPLE = "textworld:simple?level=1&seed=7"
MIXED = ("ipd", "bandit", SIMPLE)


def specs(*names: str) -> list[GameSpec]:
    return [spec for name in names for spec in games.resolve(name)]


def corridors(*each: CorridorSpec) -> list[GameSpec]:
    return cast("list[GameSpec]", list(each))


def commands_of(infos: dict[str, Any], turn: int) -> list[str]:
    """Return one command per environment. The admissible commands take turns; if an episode is over, it is "next"."""
    return [cs[turn % len(cs)] if cs else "next" for cs in infos["admissible_commands"]]


def one_of(infos: dict[str, Any], index: int) -> dict[str, Any]:
    """The info of one environment, from the infos of all."""
    keys = [key for key in infos if f"_{key}" in infos and infos[f"_{key}"][index]]
    return {key: one_of(infos[key], index) if isinstance(infos[key], dict) else infos[key][index] for key in keys}


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("workers", [0, 2])
def test_results_equal_gymnasiums_own_vector_environment(mode: AutoresetMode, workers: int) -> None:
    chosen = specs("ipd?start=defect", "bandit", "bandit?case=pizza", "ipd")
    ours = TextVectorEnv(chosen, max_turns=3, autoreset_mode=mode, workers=workers, render_mode="ansi")
    space = ours.single_observation_space
    theirs = SyncVectorEnv(
        [functools.partial(spec.make, max_turns=3, render_mode="ansi") for spec in chosen],
        observation_mode=(ours.observation_space, space),
        autoreset_mode=mode,
    )
    assert ours.action_space == theirs.action_space
    assert ours.metadata["autoreset_mode"] is mode
    both = (ours.reset(seed=4), theirs.reset(seed=4))
    infos = both[0][1]
    for turn in range(9):
        assert data_equivalence(*both, exact=True), turn
        assert all(text in space for text in both[0][0])
        assert ours.render() == theirs.render()
        commands = commands_of(infos, turn)
        both = cast("Any", (ours.step(commands), theirs.step(commands)))
        infos = both[0][-1]
    assert ours.get_attr("action_space") == theirs.get_attr("action_space") == ours.call("action_space")
    assert ours.call("get_wrapper_attr", "metadata") == theirs.call("get_wrapper_attr", "metadata")


@pytest.mark.parametrize("workers", [0, 3])
def test_results_equal_single_environments(workers: int) -> None:
    vector = TextVectorEnv(specs(*MIXED, SIMPLE), max_turns=6, infos=["inventory"], workers=workers)
    singles = [spec.make(max_turns=6, infos=["inventory"]) for spec in specs(*MIXED, SIMPLE)]
    texts, infos = vector.reset(seed=3)
    assert texts == tuple(env.reset(seed=3 + i)[0] for i, env in enumerate(singles))
    over = [False] * len(singles)
    for turn in range(12):
        commands = commands_of(infos, turn)
        texts, rewards, terminations, truncations, infos = vector.step(commands)
        for i, env in enumerate(singles):
            if over[i]:
                text, info = env.reset()
                expected: Any = (text, 0.0, False, False, info)
            else:
                expected = env.step(commands[i])
            assert (texts[i], rewards[i], terminations[i], truncations[i]) == expected[:4]
            assert one_of(infos, i) == expected[4]
            over[i] = expected[2] or expected[3]
    vector.close()
    vector.close()


def test_make_vec_uses_our_vector_environment_for_textworld() -> None:
    name = "games:actde/TextWorld-v0"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours: Any = gymnasium.make_vec(name, num_envs=2, game=SIMPLE)
        same: Any = gymnasium.make_vec(
            name, num_envs=2, vectorization_mode="vector_entry_point", game=SIMPLE, autoreset_mode="SameStep"
        )
        sync: Any = gymnasium.make_vec(name, num_envs=2, vectorization_mode="sync", game=SIMPLE)
        plain = gymnasium.make_vec("games:actde/IPD-v0", num_envs=2)
    assert isinstance(ours, TextVectorEnv) and isinstance(same, TextVectorEnv)
    assert isinstance(plain, SyncVectorEnv) and isinstance(sync, SyncVectorEnv)
    assert same.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert ours.observation_space == sync.observation_space
    assert data_equivalence(ours.reset(seed=0), sync.reset(seed=0), exact=True)
    assert data_equivalence(ours.step(("look", "x")), sync.step(("look", "x")), exact=True)


def test_gymnasiums_async_vector_environment_runs_our_games() -> None:
    name: str = "games:actde/TextWorld-v0"
    ours: Any = gymnasium.make_vec(name, num_envs=1, game=SIMPLE)
    processes: Any = gymnasium.make_vec(
        name,
        num_envs=1,
        vectorization_mode="async",
        vector_kwargs={"shared_memory": False, "context": "spawn"},
        game=SIMPLE,
    )
    try:
        assert data_equivalence(processes.reset(seed=0), ours.reset(seed=0), exact=True)
        assert data_equivalence(processes.step(("look",)), ours.step(("look",)), exact=True)
    finally:
        processes.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_failing_game_ends_its_own_episode_only(workers: int) -> None:
    vector = TextVectorEnv(
        corridors(CorridorSpec("sound", 5), CorridorSpec("trapped", 5, trap=1), CorridorSpec("sound", 5)),
        workers=workers,
    )
    vector.reset(seed=0)
    vector.step(["forward"] * 3)
    closed = Corridor.closed
    texts, rewards, terminations, truncations, infos = vector.step(["forward"] * 3)
    assert texts == ("Now at 2.", "", "Now at 2.")
    assert rewards.tolist() == [1.0, 0.0, 1.0]
    assert terminations.tolist() == [False] * 3
    assert truncations.tolist() == [False, True, False]
    assert infos["error"].tolist() == [None, "the floor gives way", None]
    assert infos["_error"].tolist() == [False, True, False]
    assert infos["admissible_commands"][1] == []
    assert Corridor.closed == closed + 1
    texts, _, _, truncations, infos = vector.step(["forward"] * 3)
    assert texts == ("Now at 3.", "You stand at 0.", "Now at 3.")
    assert not truncations.any() and "error" not in infos


def test_an_environment_that_was_closed_after_an_error_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "fragile.py").write_text(
        "import gymnasium\n"
        "class Fragile(gymnasium.Env):\n"
        "    observation_space = action_space = gymnasium.spaces.Text(99)\n"
        "    open = True\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        super().reset(seed=seed)\n"
        "        assert self.open\n"
        "        return f'{self.np_random.integers(10**9)}', {'admissible_commands': ['go', 'break']}\n"
        "    def step(self, action):\n"
        "        assert action == 'go'\n"
        "        return 'On.', 0.0, False, False, {'admissible_commands': ['go', 'break']}\n"
        "    def close(self):\n"
        "        self.open = False\n"
    )

    def openings(seed: int) -> list[str]:
        vector = TextVectorEnv(f"{tmp_path}/fragile.py:Fragile")
        texts = [vector.reset(seed=seed)[0][0]]
        for _ in range(2):
            assert "AssertionError" in vector.step(["break"])[4]["error"][0]
            texts.append(vector.step(["go"])[0][0])
            assert vector.step(["go"])[0] == ("On.",)
        return texts

    assert len(set(openings(3))) == 3 and "" not in openings(3)
    assert openings(3) == openings(3) != openings(4)


def fail(**keywords: object) -> NoReturn:
    raise games.GameError("no such story")


def test_game_that_cannot_begin_is_truncated_and_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    vector = TextVectorEnv(corridors(CorridorSpec("a", 3), CorridorSpec("b", 3)))
    monkeypatch.setattr(vector.envs[1], "reset", fail)
    texts, infos = vector.reset(seed=0)
    assert texts == ("You stand at 0.", "")
    assert infos["error"].tolist() == [None, "no such story"]
    for turn in range(1, 4):
        texts, _, _, truncations, infos = vector.step(["forward"] * 2)
        assert texts[0] == f"Now at {turn}."
        assert truncations.tolist() == [False, turn % 2 == 1]
        assert infos["error"][1] == "no such story"
    monkeypatch.undo()
    assert vector.step(["forward"] * 2)[0] == ("You stand at 0.",) * 2


def test_the_reset_after_a_failed_reset_has_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[list[int]] = [[], []]
    for given in seeds:
        vector = TextVectorEnv(corridors(CorridorSpec("a", 3)))
        monkeypatch.setattr(vector.envs[0], "reset", lambda seed, options, given=given: given.append(seed) or fail())
        vector.reset(seed=3)
        vector.step(["forward"])
        vector.step(["forward"])
    assert seeds[0] == seeds[1] and len({*seeds[0]} - {None}) == 2


def test_games_that_only_fail_end_the_run() -> None:
    vector = TextVectorEnv(corridors(CorridorSpec("trapped", 5, trap=0)))
    vector.reset(seed=0)
    for _ in range(2):
        assert vector.step(["forward"])[4]["error"].tolist() == ["the floor gives way"]
        vector.step(["forward"])
    assert vector.failures.count == 2
    with pytest.raises(games.FatalGameError, match="3 episodes in a row failed alike; the last: trapped: the floor"):
        vector.step(["forward"])


def test_games_that_never_begin_end_the_run() -> None:
    vector = TextVectorEnv(corridors(CorridorSpec("b", 3, broken=range(1000))))
    for _ in range(2):
        vector.reset(seed=0)
    with pytest.raises(games.FatalGameError, match="3 starts in a row failed alike; the last: b: reset"):
        vector.reset(seed=0)
    other = TextVectorEnv(corridors(CorridorSpec("a", 1), CorridorSpec("b", 3, broken=range(1000))))
    other.reset(seed=0)
    for _ in range(8):  # the first game wins in between
        other.step(["forward"] * 2)
    assert other.failures.count >= 3


def test_without_autoreset_the_mask_selects_the_environments_to_reset() -> None:
    vector = TextVectorEnv(
        corridors(CorridorSpec("short", 1), CorridorSpec("long", 3)), autoreset_mode=AutoresetMode.DISABLED
    )
    vector.reset(seed=[1, None])
    vector.step(["forward", "forward"])
    with pytest.raises(ResetNeeded, match=r"\[0\]"):
        vector.step(["forward", "forward"])
    texts, infos = vector.reset(options={"reset_mask": np.array([True, False])})
    assert texts == ("You stand at 0.", "Now at 1.")
    assert infos["_score"].tolist() == [True, False]
    assert vector.step(["wait", "forward"])[0] == ("Now at 0.", "Now at 2.")


def test_only_steps_that_need_the_interpreter_run_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    vector = TextVectorEnv(corridors(*[CorridorSpec("a", 9)] * 3), workers=2)
    threads: list[set[str]] = []

    def recorded(step: Any, command: str) -> Any:
        threads[-1].add(threading.current_thread().name)
        return step(command)

    for env in vector.envs:
        monkeypatch.setattr(env, "step", functools.partial(recorded, env.step))
        monkeypatch.setattr(env, "needs_interpreter", lambda command: command == "forward", raising=False)
    vector.reset(seed=0)
    here = threading.current_thread().name
    for commands, away in ((["wait"] * 3, False), (["wait", "wait", "forward"], False), (["forward"] * 3, True)):
        threads.append(set())
        vector.step(commands)
        assert here in threads[-1]
        assert (threads[-1] != {here}) is away
    vector.close()


def test_misuse_raises() -> None:
    vector = TextVectorEnv("ipd")
    vector.reset(seed=0)
    for wrong in ("cooperate", ["cooperate", "defect"], [3]):
        with pytest.raises(TypeError, match="expected a sequence of 1 commands"):
            vector.step(cast("Any", wrong))
    with pytest.raises(ValueError, match="expected 1 seeds, got 2"):
        vector.reset(seed=[1, 2])
    for mask in ([True], np.array([1]), np.array([True, True])):
        with pytest.raises(TypeError, match="reset_mask: expected an array of 1 booleans"):
            vector.reset(options={"reset_mask": mask})
    with pytest.raises(games.GameError, match="did you mean 'NextStep'"):
        TextVectorEnv("ipd", autoreset_mode="Nextstep")
    with pytest.raises(games.GameError, match="at least one game"):
        TextVectorEnv([])
    with pytest.raises(games.GameError, match="3 games need num_envs=3 or more, got 1"):
        make_textworld_vec(game="textworld:simple?level=1&seed=1..3")


def test_infos_of_mixed_types_are_stacked_without_loss() -> None:
    stacked = stack_infos(
        [{"score": 1, "won": True, "x": [1, 2]}, {"score": 0.5, "x": None}, {"x": [3, 4], "deep": {"a": 1}}]
    )
    assert stacked["score"].tolist() == [1.0, 0.5, 0.0]
    assert stacked["_score"].tolist() == [True, True, False]
    assert stacked["won"].dtype == np.bool_
    assert stacked["x"].tolist() == [[1, 2], None, [3, 4]]
    assert stacked["deep"]["a"].tolist() == [0, 0, 1]
    assert stacked["_deep"].tolist() == [False, False, True]
