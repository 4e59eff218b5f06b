"""The runner: the order of games, how episodes end, continue and fail, and which environments stay open."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import games
from agents import Agent, AgentError, Decision, EpisodeEnd, Turn
from agents.play.baselines import RandomAgent, WalkthroughAgent
from agents.play.episode import Episode
from agents.play.live_episode import StepEvent
from agents.play.runner import EpisodeRunner
from tests.helpers.fakes import Corridor, CorridorSpec

SHORT, LONG = CorridorSpec("short", 2), CorridorSpec("long", 5)


class Walker:
    """Always plays one command, and records turns and endings."""

    name = "walker"

    def __init__(self, command: str = "forward") -> None:
        self.command = command
        self.turns: list[Turn] = []
        self.endings: list[EpisodeEnd] = []

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        self.turns += turns
        return [Decision(command=self.command) for _ in turns]

    def end(self, endings: Sequence[EpisodeEnd]) -> None:
        self.endings += endings


def played(specs: Sequence[CorridorSpec], agent: Agent, episodes: int, **settings: Any) -> list[Episode]:
    with EpisodeRunner(specs, seed=1, **settings) as runner:
        return sorted(runner.play(agent, episodes), key=lambda episode: episode.index)


def test_an_episode_records_every_turn() -> None:
    [episode] = played([LONG], Walker(), 1)
    assert [step.observation for step in episode.steps] == [f"You stand at {0}."] + [
        f"Now at {place}." for place in range(1, 5)
    ]
    assert [step.score for step in episode.steps] == [1, 2, 3, 4, 5]
    assert episode.steps[0].observation == "You stand at 0." and episode.final_observation == "Now at 5."
    assert episode.won and episode.terminated and not episode.truncated and episode.error is None
    assert (episode.score, episode.max_score, episode.reward, episode.moves) == (5, 5, 5, 5)


def test_an_agent_sees_turns_and_endings() -> None:
    agent = Walker()
    played([SHORT], agent, 1)
    assert [turn.first for turn in agent.turns] == [True, False]
    assert [turn.reward for turn in agent.turns] == [0, 1]
    assert {(turn.prompt, turn.terminator) for turn in agent.turns} == {("? ", "!")}
    [ending] = agent.endings
    assert (ending.episode, ending.reward, ending.terminated, ending.truncated) == (0, 1, True, False)


@pytest.mark.parametrize("parallel", [1, 3, 16])
def test_results_do_not_depend_on_the_number_of_live_episodes(parallel: int) -> None:
    sequential = played([SHORT, LONG], RandomAgent(seed=4), 10, parallel=1)
    assert played([SHORT, LONG], RandomAgent(seed=4), 10, parallel=parallel) == sequential
    assert [episode.game for episode in sequential] == ["short", "long"] * 5
    assert len({episode.seed for episode in sequential}) == 10


def test_episode_numbers_continue_over_calls() -> None:
    with EpisodeRunner([SHORT], seed=1, first_episode=7) as runner:
        first = [episode.index for episode in runner.play(Walker(), 2)]
        second = [episode.index for episode in runner.play(Walker(), 2)]
    assert (first, second, runner.next_episode) == ([7, 8], [9, 10], 11)


def test_a_truncated_episode_continues_in_the_next_also_in_another_runner() -> None:
    game = CorridorSpec("endless", 100, limit=3)
    with EpisodeRunner([game], seed=1, parallel=2) as runner:
        assert all(episode.truncated for episode in runner.play(Walker(), 2))
        kept = json.loads(json.dumps(runner.continuations))
        goes_on = [episode.steps[0].observation for episode in runner.play(Walker(), 2)]
    assert goes_on == ["You stand at 3."] * 2
    with EpisodeRunner([game], seed=1, parallel=2, first_episode=2) as later:
        later.continuations = kept
        assert [episode.steps[0].observation for episode in later.play(Walker(), 2)] == goes_on


def test_another_game_does_not_continue_this_one() -> None:
    specs = [CorridorSpec("endless", 100, limit=3), LONG]
    assert played(specs, Walker(), 2, parallel=1)[1].steps[0].observation == "You stand at 0."


def test_a_failing_game_ends_only_its_own_episode() -> None:
    agent = Walker()
    broken, whole = played([CorridorSpec("trapped", 5, trap=2), LONG], agent, 2)
    assert broken.error == "the floor gives way"
    assert broken.truncated and not broken.terminated and broken.score == 2 and len(broken.steps) == 3
    assert whole.won and whole.error is None
    assert len(agent.endings) == 2


@pytest.mark.parametrize("broken", [(1,), (2, 3), (1, 4, 5)])
def test_a_game_that_fails_at_the_start_is_replaced_and_counted(broken: tuple[int, ...]) -> None:
    Corridor.resets = 0
    with EpisodeRunner([CorridorSpec("broken", 2, broken=broken)], seed=1, parallel=2) as runner:
        episodes = list(runner.play(Walker(), 4))
    assert [episode.won for episode in episodes] == [True] * 4
    assert (runner.failures.count, runner.failures.episodes) == (len(broken), 4 + len(broken))
    assert runner.failures.last == f"broken: reset {broken[-1]} fails"


@pytest.mark.parametrize("first", [1, 2, 9])
def test_a_game_that_never_starts_again_ends_play(first: int) -> None:
    Corridor.resets = 0
    fails = pytest.raises(games.FatalGameError, match="3 starts in a row failed alike; the last: broken: reset")
    with EpisodeRunner([CorridorSpec("broken", 2, broken=range(first, 100))], seed=1, parallel=1) as runner, fails:
        list(runner.play(Walker(), 20))
    assert runner.failures.episodes == first + 2


@pytest.mark.parametrize("parallel", [1, 8])
def test_games_that_never_start_are_replaced_by_those_that_do(parallel: int) -> None:
    specs = [CorridorSpec("broken", 2, broken=range(1000)), SHORT]
    with EpisodeRunner(specs, seed=1, parallel=parallel) as runner:
        episodes = list(runner.play(Walker(), 10))
    assert [episode.won for episode in episodes] == [True] * 10
    assert runner.failures.count == 10


def test_all_environments_are_closed_when_failures_end_play() -> None:
    Corridor.opened = Corridor.closed = 0
    with (
        pytest.raises(games.FatalGameError, match="6 episodes in a row failed alike; the last: trapped: the floor"),
        EpisodeRunner([CorridorSpec("trapped", 5, trap=0)], seed=1, parallel=4) as runner,
    ):
        list(runner.play(Walker(), 8))
    assert (Corridor.opened, Corridor.closed) == (8, 8)


def test_a_game_that_fails_at_the_start_for_ever_new_reasons_ends_play() -> None:
    class Moody(Corridor):
        def reset(self, **words: Any) -> Any:
            Corridor.resets += 1
            raise games.EpisodeError("not today", kind=str(Corridor.resets))

    class MoodySpec(CorridorSpec):
        def make(self, **words: Any) -> Corridor:
            return Moody(length=2)

    with (
        pytest.raises(games.FatalGameError, match="10 starts in a row failed; the last: moody: not today"),
        EpisodeRunner([MoodySpec("moody", 2)], seed=1) as runner,
    ):
        list(runner.play(Walker(), 1))


def test_a_live_game_without_commands_is_an_error() -> None:
    class Silent(Corridor):
        def _info(self, *, over: bool) -> dict[str, Any]:
            return super()._info(over=over or self.turns > 0)

    class SilentSpec(CorridorSpec):
        def make(
            self, *, max_turns: int | None = None, infos: Sequence[str] = (), render_mode: str | None = None
        ) -> Corridor:
            return Silent(length=self.length)

    [episode] = played([SilentSpec("silent", 5)], Walker(), 1)
    assert episode.error == "silent has not ended, but offers no admissible commands"


def test_every_environment_is_closed_also_if_play_stops_early() -> None:
    Corridor.opened = Corridor.closed = 0
    with EpisodeRunner([CorridorSpec(f"corridor-{number}", 3) for number in range(100)], seed=1) as runner:
        list(runner.play(RandomAgent(seed=1), 120))
        iterator = runner.play(RandomAgent(seed=1), 20)
        next(iterator)
        iterator.close()
        assert Corridor.opened - Corridor.closed <= 64
    assert Corridor.opened == Corridor.closed > 0


def test_a_finished_environment_is_reused() -> None:
    Corridor.opened = 0
    played([SHORT], Walker(), 20, parallel=4)
    assert Corridor.opened == 4


def test_steps_are_reported_as_they_happen() -> None:
    events: list[StepEvent] = []
    with EpisodeRunner([SHORT], seed=1) as runner:
        for episode in runner.play(WalkthroughAgent(), 1, on_step=events.append):
            assert [event.reward for event in events] == [step.reward for step in episode.steps]
    assert [event.observation for event in events] == ["Now at 1.", "Now at 2."]


def test_mistakes_are_clear_errors() -> None:
    with pytest.raises(AgentError, match="the list of games is empty"):
        EpisodeRunner([], seed=1)
    with pytest.raises(AgentError, match="parallel is 0"):
        EpisodeRunner([SHORT], seed=1, parallel=0)
    with pytest.raises(AgentError, match="has no walkthrough"):
        played([CorridorSpec("unsolved", 5, solved=False)], WalkthroughAgent(), 1)


def test_the_prisoners_dilemma_continues_from_its_last_action() -> None:
    with EpisodeRunner(games.resolve("ipd"), seed=1, parallel=4, max_turns=3) as runner:
        list(runner.play(Walker("defect"), 4))
        assert {episode.steps[0].observation for episode in runner.play(Walker("defect"), 4)} == {"defect"}


MEETING = """
import tempfile, time
from pathlib import Path
import gymnasium

class Meeting(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Text(99)

    def __init__(self, folder: str, seconds: float):
        self.folder, self.seconds = Path(folder), seconds

    def reset(self, *, seed=None, options=None):
        self.seed, self.turn = seed, 0
        return self.met(), {"admissible_commands": ["wait"]}

    def step(self, action):
        self.turn += 1
        return self.met(), 1.0, self.turn == 2, False, {"admissible_commands": ["wait"]}

    def met(self):
        place = self.folder / f"{self.seed}-{self.turn}"
        place.mkdir(exist_ok=True)
        tempfile.mkstemp(dir=place)
        end = time.monotonic() + self.seconds
        while len(list(place.iterdir())) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        return "together" if len(list(place.iterdir())) == 2 else "alone"
"""


def meetings(folder: Path, *, seconds: float, step_seconds: float | None) -> list[list[str]]:
    """Play two groups of two episodes that wait for each other. Return the observations of each episode."""
    folder.mkdir()
    (folder / "meeting.py").write_text(MEETING)
    specs = games.resolve(f"{folder}/meeting.py:Meeting?folder={folder}&seconds={seconds}", step_seconds=step_seconds)
    with EpisodeRunner(specs, seed=1, parallel=2, group_size=2) as runner:
        episodes = sorted(runner.play(Walker("wait"), 4), key=lambda episode: episode.index)
    return [[*(step.observation for step in episode.steps), episode.final_observation] for episode in episodes]


def test_games_in_child_processes_start_and_step_at_the_same_time(tmp_path: Path) -> None:
    """Each of two games waits in its reset and in its steps for the other. In one process, the first waits in vain."""
    assert meetings(tmp_path / "both", seconds=60, step_seconds=120) == [["together"] * 3] * 4
    assert meetings(tmp_path / "one", seconds=0.1, step_seconds=None) == [["alone"] * 3, ["together"] * 3] * 2


@pytest.mark.parametrize("broken", [(), (0, 1), (2,), (1, 4, 5)])
def test_failed_starts_in_child_processes_are_counted_as_in_this_process(broken: tuple[int, ...]) -> None:
    """Simultaneous starts are counted in the order of the episodes, with and without threads."""

    class Spec(CorridorSpec):
        step_seconds: float | None = None

        def make(self, **settings: Any) -> Any:
            env: Any = super().make(**settings)
            reset = env.reset
            seeds = [int(np.random.SeedSequence([1, i]).generate_state(1)[0]) for i in broken]

            def failing(*, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
                if seed in seeds:
                    raise games.EpisodeError("nobody is there", kind="empty")
                return reset(seed=seed, options=options)

            env.reset = failing
            return env

    class ProcessSpec(Spec):
        step_seconds = 1.0

    plays = []
    for spec in (Spec("corridor", 3), ProcessSpec("corridor", 3)):
        with EpisodeRunner([spec], seed=1, parallel=3) as runner:
            episodes = list(runner.play(Walker(), 6))
        plays.append((episodes, runner.next_episode, runner.failures.count, runner.failures.episodes))
    assert plays[0] == plays[1]
    assert plays[0][1:] == (6 + len(broken), len(broken), 6 + len(broken))
    assert [episode.index for episode in sorted(plays[0][0], key=lambda e: e.index)] == [
        i for i in range(6 + len(broken)) if i not in broken
    ]
