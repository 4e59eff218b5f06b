"""Labels for imitation: the commands that the update imitates."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agents.language_model.agent import LanguageModelAgent
from agents.language_model.token_stream import Segment
from agents.play.episode import Episode
from agents.play.metrics import Metrics
from agents.protocol import AgentError, Decision, EpisodeEnd, Turn


class Expert:
    """Labels each turn with a command of the game's solution.

    The label is the next command of the walkthrough. After a deviation, the label is a look-up or the first of the
    turn's `policy_commands`. A look-up, such as reading a recipe, is a command of the walkthrough that the first turn's
    `policy_commands` do not contain.

    If `prefer_policy` is True, `policy_commands` have priority over the walkthrough.
    """

    def __init__(self, *, prefer_policy: bool) -> None:
        self.prefer_policy = prefer_policy
        # by episode: commands of the walkthrough, and look-ups among them, that were not played yet
        self._walkthroughs: dict[int, list[str]] = {}  # [] after a deviation
        self._lookups: dict[int, list[str]] = {}

    def label(self, turn: Turn) -> int | None:
        """Return the index of the label among the admissible commands, or None."""
        policy = list(turn.info.get("policy_commands") or ())
        if turn.first:
            solution = list(turn.info.get("extra.walkthrough") or ())
            self._walkthroughs[turn.episode] = solution
            self._lookups[turn.episode] = [command for command in solution if policy and command not in policy]
        self._skip_inadmissible(turn)
        commands: list[str] = turn.info["admissible_commands"]
        walkthrough, policy = self._walkthroughs[turn.episode][:1], policy[:1]
        # look-ups come first, because `policy_commands` may use information that the player has not read yet
        after_deviation = self._lookups[turn.episode] or policy
        candidates = policy + walkthrough if self.prefer_policy else walkthrough + after_deviation
        return next((commands.index(command) for command in candidates if command in commands), None)

    def record(self, turn: Turn, command: str) -> None:
        walkthrough = self._walkthroughs[turn.episode]
        self._walkthroughs[turn.episode] = walkthrough[1:] if walkthrough[:1] == [command] else []
        self._lookups[turn.episode] = [lookup for lookup in self._lookups[turn.episode] if lookup != command]

    def _skip_inadmissible(self, turn: Turn) -> None:
        # such as "open door" if the door is open
        while (commands := self._walkthroughs[turn.episode]) and commands[0] not in turn.info["admissible_commands"]:
            self.record(turn, commands[0])

    def end(self, episode: int) -> None:
        self._walkthroughs.pop(episode, None)
        self._lookups.pop(episode, None)


class DAggerAgent:
    """Plays the expert's command with probability `beta`, and the model's command otherwise.

    In a fraction `greedy_share` of the episodes, the model plays greedily. This is DAgger (Ross, Gordon and Bagnell,
    2011), trained on the current rollout only.
    """

    def __init__(
        self, agent: LanguageModelAgent, expert: Expert, *, beta: float = 1.0, greedy_share: float = 0.0
    ) -> None:
        if agent.mode != "trie":
            raise AgentError(f"an expert's commands are admissible ones: expected mode trie, got {agent.mode}")
        self.agent, self.expert, self.name = agent, expert, agent.name
        self.beta, self.greedy_share = beta, greedy_share
        self._rngs: dict[int, np.random.Generator] = {}
        self._is_sampling: dict[int, bool] = {}  # by episode: whether the model samples on its own turns
        # of the turns with several commands: their number, and whether each label was the model's likeliest command
        self._branching_turns, self._agreements = 0, list[bool]()

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        outputs = self.agent.evaluate(turns)
        samples = self.agent.sample(turns, outputs)
        labels = [self.expert.label(turn) for turn in turns]
        expert_commands = [
            label if label is not None and self._expert_plays(turn.episode) else None
            for turn, label in zip(turns, labels, strict=True)
        ]
        chosen = [
            self._model_command(turn, *choice) if label is None else label
            for turn, choice, label in zip(turns, samples, expert_commands, strict=True)
        ]
        self.agent.commit(turns, outputs, chosen, labels)
        decisions = []
        rows = zip(turns, outputs, samples, labels, expert_commands, chosen, strict=True)
        for turn, output, (decision, _), label, expert_command, index in rows:
            commands = turn.info["admissible_commands"]
            self.expert.record(turn, commands[index])
            decisions.append(replace(decision, command=commands[index], by_expert=expert_command is not None))
            if output.trie.branching:
                self._branching_turns += 1
                if label is not None:
                    likeliest = max(decision.probabilities.values())
                    self._agreements.append(decision.probabilities[commands[label]] == likeliest)
        return decisions

    def end(self, endings: Sequence[EpisodeEnd]) -> None:
        for ending in endings:
            self.expert.end(ending.episode)
            self._rngs.pop(ending.episode, None)
            self._is_sampling.pop(ending.episode, None)
        self.agent.end(endings)

    def take_metrics(self) -> Metrics:
        """Return the metrics since the last call. Raise `AgentError` if no turn has a label."""
        agreements, turns, self._agreements, self._branching_turns = self._agreements, self._branching_turns, [], 0
        if not agreements:
            raise AgentError("the expert has no labels: none of these games has a walkthrough or policy_commands")
        return {"labelled": len(agreements) / turns, "agreement": sum(agreements) / len(agreements)}

    def _expert_plays(self, episode: int) -> bool:
        if self.beta in (0.0, 1.0):
            return self.beta == 1.0
        if episode not in self._rngs:
            self._rngs[episode] = np.random.default_rng([self.agent.seed, episode, 1])
        return bool(self._rngs[episode].random() < self.beta)

    def _model_command(self, turn: Turn, decision: Decision, sampled: int) -> int:
        if self.greedy_share and turn.episode not in self._is_sampling:
            rng = np.random.default_rng([self.agent.seed, turn.episode, 2])
            self._is_sampling[turn.episode] = bool(rng.random() >= self.greedy_share)
        if self._is_sampling.get(turn.episode, True):
            return sampled
        likeliest = max(decision.probabilities, key=lambda command: decision.probabilities[command])
        commands: list[str] = turn.info["admissible_commands"]
        return commands.index(likeliest)


def label_best_episodes(
    segments: Sequence[Segment], episodes: Sequence[Episode], *, top_fraction: float, gamma: float
) -> tuple[list[Segment], Metrics]:
    """Return all segments and the metric `kept`. Only the segments of the best episodes have labels."""
    best = best_episodes(episodes, top_fraction=top_fraction, gamma=gamma)
    labels = [[c.chosen if segment.episode in best else None for c in segment.choices] for segment in segments]
    labelled = [
        replace(segment, choices=tuple(replace(c, label=label) for c, label in zip(segment.choices, row, strict=True)))
        for segment, row in zip(segments, labels, strict=True)
    ]
    return labelled, {"kept": len(best) / len(episodes)}


def best_episodes(episodes: Sequence[Episode], *, top_fraction: float, gamma: float) -> set[int]:
    """Return the indices of the won episodes and of each game's best episodes.

    The best of a game's n episodes are the ceil(`top_fraction` * n) with the highest discounted returns, and ties.
    Episodes with the lowest return are left out, unless `top_fraction` is 1.
    """
    returns = [discounted_return(episode, gamma) for episode in episodes]
    won = [bool(episode.won) for episode in episodes]
    mask = best_returns([episode.game for episode in episodes], returns, won, top_fraction=top_fraction)
    return {episode.index for episode, is_best in zip(episodes, mask, strict=True) if is_best}


def discounted_return(episode: Episode, gamma: float) -> float:
    """Return the sum of the shaped rewards, discounted by `gamma` per turn."""
    return sum(gamma**turn * step.reward for turn, step in enumerate(episode.steps))


def best_returns(games: ArrayLike, returns: ArrayLike, won: ArrayLike, *, top_fraction: float) -> NDArray[np.bool_]:
    """Return a mask [N] of the episodes that `best_episodes` selects. `games`, `returns` and `won` are [N]."""
    values, mask = np.asarray(returns, dtype=np.float64), np.array(won, dtype=np.bool_)
    if top_fraction == 1:
        return np.ones_like(mask)
    game_numbers = np.unique(np.asarray(games), return_inverse=True)[1]
    for game in range(game_numbers.max(initial=-1) + 1):
        rows = np.flatnonzero(game_numbers == game)
        descending = np.sort(values[rows])[::-1]
        threshold, lowest = descending[math.ceil(top_fraction * len(rows)) - 1], descending[-1]
        mask[rows] |= (values[rows] >= threshold) & (values[rows] > lowest)
    return mask
