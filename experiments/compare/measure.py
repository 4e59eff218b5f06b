"""What is measured of a finished run: its agent plays, and the policy that it began with reads along.

The agent plays twice on the same games and seeds, sampled and greedy; collapse is measured on the sampled episodes,
for a greedy policy has none to lose. Dropout is off. The measures are kept in the run's folder (`measures.json`), with
the agent's digest, and are made again only where agent or number of episodes changed. Leaves out training (grid.py) and
the formulas (collapse.py, diversity.py).
"""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import games
from actde import make_optimizer
from agents.config import TrainConfig
from agents.play.episode import Episode
from agents.play.evaluate import evaluate
from agents.play.metrics import strategies_of
from agents.registry import games_trained_on
from agents.storage.checkpoint import AGENT, load_agent, newest, read_json
from agents.storage.run_folder import INITIAL
from experiments.compare import collapse, diversity
from experiments.compare.paired_agent import PairedAgent
from games.files import atomic_write

MEASURES = "measures.json"
FORMAT = 2
"""Raise to have every run measured again."""
Measures = dict[str, Any]


def measures(folder: Path, config: TrainConfig, *, episodes: int, tests: str = "") -> Measures:
    """The measures of the finished run in `folder`, from its file or made now; JSON-able.

    Args:
        episodes: how many the agent plays, once sampled and once greedy.
        tests: the games that are played; empty: those that it learned.

    Returns:
        "evaluation": {"sampled": ..., "greedy": ...} (agents/play/evaluate.py), and "collapse" (see `collapse_of`).
    """
    found = kept(folder, episodes=episodes, tests=tests)
    if found is None:
        found = _measure(folder, config, episodes=episodes, tests=tests)
        document = {"of": _identity(folder, episodes, tests), "measures": found}
        atomic_write(folder / MEASURES, json.dumps(document, indent=1, allow_nan=False) + "\n")
    return found


def kept(folder: Path, *, episodes: int, tests: str = "") -> Measures | None:
    """The measures, over so many episodes of these games, that the folder keeps of its newest checkpoint, or None."""
    if not (folder / MEASURES).is_file():
        return None
    document = read_json(folder / MEASURES)
    measured: Measures | None = document.get("measures")
    return measured if document.get("of") == _identity(folder, episodes, tests) else None


def _identity(folder: Path, episodes: int, tests: str) -> dict[str, Any]:
    """What measures depend on; the settings that matter are in the agent's digest."""
    agent = read_json(newest(folder) / AGENT)["digest"]
    return {"format": FORMAT, "episodes": episodes, "agent": agent, "tests": tests}


def _measure(folder: Path, config: TrainConfig, *, episodes: int, tests: str = "") -> Measures:
    game, seed = tests or config.run.game, 10_000 + config.run.seed
    specs = games.resolve(game)
    probe = PairedAgent(load_agent(folder, seed=seed), load_agent(folder / INITIAL, seed=seed), config.rollout.credit)
    greedy = load_agent(folder, seed=seed, greedy=True)
    played: list[Episode] = []
    found = {
        how: evaluate(
            agent,
            specs,
            game=game,
            episodes=episodes,
            seed=seed,
            parallel=config.rollout.parallel,
            max_turns=config.rollout.max_turns,
            act=config.reward.bonus_command,
            on_episode=played.append if how == "sampled" else None,
        ).to_json()
        | {"trained_on": games_trained_on(str(folder), specs)}
        for how, agent in (("sampled", probe), ("greedy", greedy))
    }
    played.sort(key=lambda episode: episode.index)
    tau = implied_temperature(config)
    return {"evaluation": found, "collapse": collapse_of(played, probe, strategies_of(specs[0]), tau, seed)}


def collapse_of(
    episodes: Sequence[Episode], probe: PairedAgent, names: Sequence[str], tau: float | None, seed: int
) -> dict[str, Any]:
    """All measures of collapse over sampled episodes; JSON-able, None where a quantity does not exist.

    Args:
        episodes: what the probe played.
        names: the game's diversity, where it names them.
        tau: the temperature that the settings imply, in reward, if they do.
        seed: the bootstrap's.

    Returns:
        "decisions" (turns with several commands; entropy and KL are means over them, each state as often as it is
        visited), "entropy" and "kl_initial" (nats per decision), "tilted" (see `_tilted`), "strategies" (see
        `_strategies`), "wins" and "pass_at" (games that can be won, see `_wins`).
    """
    entropies = [
        step.decision.entropy or 0.0 for e in episodes for step in e.steps if len(step.admissible_commands) > 1
    ]
    nodes = probe.nodes()
    return {
        "decisions": len(entropies),
        "entropy": float(np.mean(entropies)) if entropies else None,
        "kl_initial": None if nodes is None else _nats(collapse.kl_to_initial(nodes)),
        "tilted": None if nodes is None or nodes.q_values is None else _tilted(nodes, tau),
        "strategies": _strategies(episodes, probe, names, seed),
        **_wins(episodes),
    }


def _tilted(nodes: collapse.Nodes, tau: float | None) -> dict[str, float | None]:
    """KL to softmax(log pi_0 + q / tau), nats per decision: at the implied tau, and at the one that fits best.

    "best_inverse_tau" is 1 / reward; 0 says that no positive tau is better than pi_0 itself.
    """
    best = collapse.best_inverse_tau(nodes)
    return {
        "tau": tau,
        "kl": None if tau is None else _nats(collapse.kl_to_tilted(nodes, 1 / tau)),
        "best_inverse_tau": best,
        "best_kl": _nats(collapse.kl_to_tilted(nodes, best)),
    }


def _nats(kl: float) -> float:
    """Without the rounding of float32 logits, and never below 0."""
    return max(0.0, round(kl, 8))


def implied_temperature(config: TrainConfig) -> float | None:
    """The tau = alpha / b of the ledger that the step sizes imply, in reward; None where they imply none.

        tau = 2 q_coef q_lr / lr

    In a table of logits and q under plain gradient descent from a uniform policy: a choice with error A moves its
    logit, against the others', by b A with b = lr, and the squared error of q moves q by alpha A with
    alpha = 2 q_coef q_lr. That needs ACTDE, SGD, an error that is the same for both (lambda 0, `return`, or one
    choice per episode) and nothing else that moves the policy. AdamW's steps have one size however small the error,
    so they imply no tau.
    """
    learning, update = config.optimizer, config.update
    q_lr = update.lr if update.q_lr is None else update.q_lr
    one_choice = games.resolve(config.run.game)[0].kind == "bandit"
    same_error = learning.advantage == "return" or learning.gae_lambda == 0 or one_choice
    alone = learning.whitening == "none" and learning.entropy_coef == learning.kl_coef == update.weight_decay == 0
    optimizer = make_optimizer(config.run.optimizer, learning)
    ledger = optimizer.needs_q and optimizer.labels == "none" and update.torch_optimizer == "sgd"
    if not (ledger and same_error and alone and min(update.lr, q_lr, learning.q_coef) > 0):
        return None
    return 2 * learning.q_coef * q_lr / update.lr


def _strategies(episodes: Sequence[Episode], probe: PairedAgent, names: Sequence[str], seed: int) -> dict[str, Any]:
    """Effective numbers of strategies: "counted" with its interval, "corrected", "policy" (see diversity.py).

    Where the game names its diversity, each command follows one, and "shares" are theirs; commands of one episode are
    not independent, so nothing is corrected there. Elsewhere the strategy of an episode is its sequence of commands,
    and numbers are exp of the mean over games of the entropy.
    """
    by_game: dict[str, list[Episode]] = defaultdict(list)
    for episode in episodes:
        by_game["" if names else episode.game].append(episode)
    tables = [
        diversity.table([_labels(episode, probe, named=bool(names)) for episode in mine], names)
        for mine in by_game.values()
    ]
    rows = [counts for counts, _ in tables]
    if not all(counts.sum() > 0 for counts in rows):
        return {"counted": None, "corrected": None, "policy": None, "shares": None}
    counted = float(np.mean([diversity.counted_entropy(counts.sum(axis=0)) for counts in rows]))
    bounds = diversity.counted_interval(rows, seed)
    low, high = (None, None) if bounds is None else (float(np.exp(bound)) for bound in bounds)
    found: dict[str, Any] = {"counted": {"value": float(np.exp(counted)), "low": low, "high": high}}
    if names:
        total = rows[0].sum(axis=0)
        shares = dict(zip(tables[0][1], (total / total.sum()).tolist(), strict=True))
        return found | {"corrected": None, "policy": None, "shares": shares}
    corrected = np.mean([diversity.chao_shen_entropy(counts.sum(axis=0)) for counts in rows])
    sums = [np.mean([sum(s.decision.entropy or 0.0 for s in e.steps) for e in mine]) for mine in by_game.values()]
    return found | {"corrected": float(np.exp(corrected)), "policy": float(np.exp(np.mean(sums))), "shares": None}


def _labels(episode: Episode, probe: PairedAgent, *, named: bool) -> list[str]:
    if named:
        return probe.strategies.get(episode.index, [])
    return [json.dumps([step.decision.command for step in episode.steps])]


def _wins(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Of winning sequences of commands: how many, how many different, their effective number; and pass@k.

    The effective number is exp of the mean, over games that were won, of the entropy of the sequences that won it. None
    for games that cannot be won. A game can be won if it states a maximum score, or if somebody won it.
    """
    if not any(episode.won or episode.max_score is not None for episode in episodes):
        return {"wins": None, "pass_at": None}
    won: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    by_game: dict[str, list[bool]] = defaultdict(list)
    for episode in episodes:
        by_game[episode.game].append(episode.won)
        if episode.won:
            won[episode.game][tuple(step.decision.command for step in episode.steps)] += 1
    entropies = [diversity.counted_entropy(np.array([*counts.values()])) for counts in won.values()]
    wins = {
        "won": sum(counts.total() for counts in won.values()),
        "different": sum(map(len, won.values())),
        "effective": float(np.exp(np.mean(entropies))) if entropies else None,
    }
    return {"wins": wins, "pass_at": diversity.pass_at(by_game)}
