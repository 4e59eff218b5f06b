"""Reads recorded episodes, or records new episodes of a random player or an expert."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import games
from agents.config import TrainConfig
from agents.config_groups import GENERATED, source_names
from agents.play import transcript
from agents.play.baselines import RandomAgent
from agents.play.episode import Episode
from agents.play.runner import EpisodeRunner
from agents.protocol import Agent, AgentError, Decision, EpisodeEnd, Turn
from agents.training.dagger import Expert
from agents.training.rollout import make_runner
from games.textworld.generation.reserved_seeds import reject_reserved_name
from games.untrusted_files import check_regular

EXPECTED = "the folder of a run, a transcript file, or episodes as in random:20 or expert:20"
ADVICE = "--data random:N and expert:N need games with admissible commands; give --data a run or a transcript instead"


class ExpertAgent:
    """Plays the expert's commands, and random commands in turns without a label."""

    name = "expert"

    def __init__(self, expert: Expert, *, seed: int) -> None:
        self.expert, self.random = expert, RandomAgent(seed=seed)
        self._labelled: set[int] = set()

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        return [self._decide(turn) for turn in turns]

    def end(self, endings: Sequence[EpisodeEnd]) -> None:
        self.random.end(endings)
        for ending in endings:
            self.expert.end(ending.episode)
            if ending.episode not in self._labelled:
                raise AgentError("expert:N needs a game with a walkthrough or policy_commands; this game has neither")
            self._labelled.remove(ending.episode)

    def _decide(self, turn: Turn) -> Decision:
        label = self.expert.label(turn)
        if label is None:
            decision = self.random.act([turn])[0]
        else:
            self._labelled.add(turn.episode)
            decision = Decision(command=turn.info["admissible_commands"][label], by_expert=True)
        self.expert.record(turn, decision.command)
        return decision


def check_sources(config: TrainConfig, specs: Sequence[games.GameSpec]) -> None:
    """Raise `AgentError` if a source of `--data` cannot be used."""
    for name in source_names(config.rollout.data):
        if GENERATED.fullmatch(name):
            with EpisodeRunner(specs, seed=config.run.seed, parallel=1, max_turns=1, advice=ADVICE) as runner:
                next(runner.play(RandomAgent(seed=0), 1), None)  # one command, as a test
        else:
            path = transcript_path(name)
            transcript.check_present(path, expected=EXPECTED)
            check_regular(path, AgentError)


def transcript_path(source: str) -> Path:
    """Return `source`, or the path of the transcript in the folder `source`."""
    path = Path(source)
    return path / transcript.NAME if path.is_dir() else path


def recorded_episodes(config: TrainConfig, specs: Sequence[games.GameSpec]) -> Iterator[tuple[str, Episode]]:
    """Yield a tuple (source, episode) for each episode of `--data`.

    Raise `AgentError` or `GameError` if a source fails.
    """
    for name in source_names(config.rollout.data):
        if not (match := GENERATED.fullmatch(name)):
            for entry in transcript.read(transcript_path(name)):
                reject_reserved_name(entry.episode.game)
                yield name, entry.episode
            continue
        seed, with_expert = config.run.seed, match["player"] == "expert"
        player: Agent = RandomAgent(seed=seed)
        if with_expert:
            player = ExpertAgent(Expert(prefer_policy=config.imitation.expert == "policy"), seed=seed)
        with make_runner(config, specs, seed=seed, with_expert=with_expert, advice=ADVICE) as runner:
            yield from ((name, episode) for episode in runner.play(player, int(match["episodes"])))
