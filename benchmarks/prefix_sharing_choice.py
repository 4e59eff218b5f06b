"""Measure the cost of choosing automatically between shared prefixes and separate episodes, on 50 rollouts.

    python -m benchmarks.prefix_sharing_choice [--rounds 3] [--out FILE]

A trained and an untrained small trunk play text adventures: one game, four games or sixteen games in sixteen episodes
of at most 20 turns. The other rollouts are groups of random completions of prompts. The update has one gradient step
for half of the rollouts, and four for the other half.

In each round, the same update is made with three options in random order: `off` (all episodes separate), `packed`
(every micro-batch is a prefix tree) and `auto` (the choice of `train`). Short updates have more rounds. The time of an
option is the CPU time of its fastest round. The cost is the time of `auto` divided by the smaller of the other two.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any
from unittest.mock import patch

import numpy as np

import games
from agents.language_model.agent import LanguageModelAgent
from agents.model import prefix_tree
from agents.model.actor_critic import ActorCritic
from agents.play.runner import EpisodeRunner
from agents.registry import SHIPPED
from agents.storage.checkpoint import load_agent
from agents.training.rollout_batch import RolloutBatch
from benchmarks import harness
from benchmarks.players import Player, tokens_in
from benchmarks.prefix_sharing import completions, learner, recorder

SIDES = {"off": "off", "packed": "auto", "auto": "auto"}  # values of --prefix-sharing
EPISODES, TURNS = 16, 20
SEED = 51  # of the first game; the threshold was chosen on games from seed 1 on
SECONDS, MOST_ROUNDS = 3.0, 20  # each option has as many rounds as fit into these seconds, at most 20
ADVENTURES = ("simple", "coin?level=5", "quest?level=3", "cooking", "treasure?level=3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of rollout. Without `games`, it consists of completions.

    `shape` is the number of completions per prompt, and the tokens of a prompt and of a completion.
    """

    name: str
    games: tuple[str, ...] = ()
    trained: bool = True
    shape: tuple[int, int, int] = (1, 1, 1)
    minibatches: int


def kinds() -> Iterator[Kind]:
    """Yield the 50 kinds of rollouts."""
    steps = [1, 4]
    adventures = [*product((True, False), ADVENTURES, (1, 4, 16)), *product((True, False), ["coin?level=1"], (1, 4))]
    for trained, name, count in adventures:
        separator = "&" if "?" in name else "?"
        specs = tuple(f"textworld:{name}{separator}seed={seed}" for seed in range(SEED, SEED + count))
        label = f"{'trained' if trained else 'untrained'}, {name}, {count} games"
        yield Kind(name=label, games=specs, trained=trained, minibatches=(steps := steps[::-1])[0])
    for shape in product((2, 4, 8, 16), (20, 300), (16, 64)):
        label = "{} completions, prompt of {}, {} tokens".format(*shape)
        yield Kind(name=label, shape=shape, minibatches=(steps := steps[::-1])[0])


def players(kind: Kind) -> tuple[LanguageModelAgent, dict[str, Player]]:
    """Return the agent that plays the episodes, and a learner for each option, all with the same model."""
    agent = load_agent(SHIPPED / "actde-small", seed=0)
    agent.model.float()
    if not kind.trained:
        untrain(agent.model)
    settings = {"minibatches": kind.minibatches, "trunk": "small", "episodes": EPISODES}
    group_size = None if kind.games else kind.shape[0]
    made = {side: learner(agent, group_size, settings | {"prefix_sharing": way}) for side, way in SIDES.items()}
    return recorder(agent, share_prefixes=True), made


def untrain(model: ActorCritic) -> None:
    """Replace the weights of the trunk by small random numbers, so that the policy is nearly uniform."""
    for parameter in model.lm.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(std=0.02)


def rollout(kind: Kind, agent: LanguageModelAgent) -> RolloutBatch:
    if not kind.games:
        return completions(agent, EPISODES, shape=kind.shape)
    specs = [spec for name in kind.games for spec in games.resolve(name)]
    group = max(1, EPISODES // len(specs))
    runner = EpisodeRunner(specs, seed=0, parallel=EPISODES, max_turns=TURNS, group_size=group)
    with runner, agent.model.mode(training=False):
        for _ in runner.play(agent, EPISODES):
            pass
    return RolloutBatch(agent.take_segments(), credit="token")


def measure(kind: Kind, rounds: int) -> dict[str, Any]:
    """Return the seconds of every option in its fastest round, and the cost of the choice."""
    agent, made = players(kind)
    recorded, sharing = rollout(kind, agent), dict[str, float]()

    def update(side: str) -> float:
        begun = time.process_time()
        with patch.object(prefix_tree, "LEAST_SHARING", 0.0 if side == "packed" else prefix_tree.LEAST_SHARING):
            sharing[side] = made[side].update(recorded)["prefix_sharing"]
        return time.process_time() - begun

    first = [update(side) for side in SIDES]
    rounds, rng = max(rounds, min(MOST_ROUNDS, round(SECONDS / first[0]))), np.random.default_rng(0)
    seconds: harness.Times = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side in rng.permutation([*SIDES]):  # an option must not always follow the same one
            seconds[side].append(update(side))
    fastest = {side: min(times) for side, times in seconds.items()}
    return {
        "rollout": kind.name,
        "minibatches": kind.minibatches,
        "tokens": tokens_in(recorded),
        "sharing": {side: sharing[side] for side in ("packed", "auto")},
        "seconds": fastest,
        "cost": fastest["auto"] / min(fastest["off"], fastest["packed"]),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    options = harness.start(__doc__, arguments)
    print(f"{'':46} {'tokens':>7} {'sharing':>8} {'off, s':>8} {'packed':>8} {'auto':>8} {'cost':>6}")
    rows = []
    for kind in kinds():
        rows.append(row := measure(kind, options.rounds))
        seconds = "".join(f" {row['seconds'][side]:8.3f}" for side in SIDES)
        print(
            f"{kind.name:46} {row['tokens']:7} {row['sharing']['packed']:8.2f}{seconds} {row['cost']:6.2f}", flush=True
        )
    costs = [row["cost"] for row in rows]
    above = sum(cost > 1.05 for cost in costs)
    print(f"cost: {harness.shown(harness.summary(costs))}, above 1.05 in {above} of {len(rows)} rollouts")
    harness.report("prefix_sharing_choice", options, arguments, rows=rows)


if __name__ == "__main__":
    main()
