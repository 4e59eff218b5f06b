"""Evaluate a finished run, and measure the loss of diversity during training."""

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
from agents.play.text_measures import text_measures
from agents.registry import games_trained_on
from agents.storage.checkpoint import load_agent
from agents.storage.checkpoint_files import AGENT, INITIAL, newest, read_json
from experiments.compare import collapse, diversity
from experiments.compare.paired_agent import PairedAgent
from games.files import atomic_write, json_hash

MEASURES = "measures.json"
SAMPLES = 20  # number of texts that the results contain
FORMAT = 3  # increase this number to measure every run again
Measures = dict[str, Any]


def measure_run(folder: Path, config: TrainConfig, *, episodes: int, tests: str = "") -> Measures:
    """Measure the finished run `folder`, and store the results in `folder`.

    The agent plays the games `tests`, by default the training games.
    """
    measures = cached_measures(folder, episodes=episodes, tests=tests)
    if measures is None:
        measures = _measure(folder, config, episodes=episodes, tests=tests)
        document = {"of": _identity(folder, episodes, tests), "measures": measures, "digest": _digest(measures)}
        atomic_write(folder / MEASURES, json.dumps(document, indent=1, allow_nan=False) + "\n")
    return measures


def cached_measures(folder: Path, *, episodes: int, tests: str = "") -> Measures | None:
    """Return the stored measures, or None if the file is missing, outdated or edited."""
    if not (folder / MEASURES).is_file():
        return None
    document = read_json(folder / MEASURES)
    measures = document.get("measures")
    current = document.get("of") == _identity(folder, episodes, tests) and document.get("digest") == _digest(measures)
    return measures if current and isinstance(measures, dict) else None


def _digest(measures: Any) -> str:
    return json_hash(json.loads(json.dumps(measures)))


def _identity(folder: Path, episodes: int, tests: str) -> dict[str, Any]:
    agent = read_json(newest(folder) / AGENT)["digest"]  # covers the settings of the run
    return {"format": FORMAT, "episodes": episodes, "agent": agent, "tests": tests}


def _measure(folder: Path, config: TrainConfig, *, episodes: int, tests: str = "") -> Measures:
    game, seed = tests or config.run.game, 10_000 + config.run.seed
    specs = games.resolve(game, step_seconds=config.rollout.step_seconds)
    initial = load_agent(folder / INITIAL, seed=seed, guide_beta=0.0)
    paired = PairedAgent(load_agent(folder, seed=seed), initial, config.rollout.credit)
    sampled: list[Episode] = []
    evaluation = {
        mode: evaluate(
            agent,
            specs,
            game=game,
            episodes=episodes,
            seed=seed,
            parallel=config.rollout.parallel,
            max_turns=config.rollout.max_turns,
            bonus_command=config.reward.bonus_command,
            on_episode=sampled.append if mode == "sampled" else None,
        ).to_json()
        | {"trained_on": games_trained_on(str(folder), specs)}
        for mode, agent in (("sampled", paired), ("greedy", load_agent(folder, seed=seed, greedy=True)))
    }
    sampled.sort(key=lambda episode: episode.index)
    strategy_names, tau = strategies_of(specs[0]), implied_temperature(config)
    return {"evaluation": evaluation, "collapse": collapse_of(sampled, paired, strategy_names, tau, seed)}


def collapse_of(
    episodes: Sequence[Episode], paired: PairedAgent, strategy_names: Sequence[str], tau: float | None, seed: int
) -> dict[str, Any]:
    """Return a JSON-serializable dict of all measures of diversity. Measures that do not apply are None.

    Args:
        paired: the agent that played the episodes.
        strategy_names: the strategies that the game defines.
        tau: the result of `implied_temperature`.
    """
    entropies = [
        step.decision.entropy or 0.0
        for episode in episodes
        for step in episode.steps
        if len(step.admissible_commands) != 1
    ]
    nodes = paired.nodes()
    return {
        "decisions": len(entropies),
        "entropy": float(np.mean(entropies)) if entropies else None,
        "kl_initial": None if nodes is None else _nats(collapse.kl_to_initial(nodes)),
        "tilted": None if nodes is None or nodes.q_values is None else _tilted(nodes, tau),
        "strategies": _strategies(episodes, paired, strategy_names, seed),
        **_wins(episodes),
        "texts": _texts(episodes, paired.text_kl()),
    }


def _texts(episodes: Sequence[Episode], kl: float | None) -> dict[str, Any] | None:
    """Return measures of texts. "kl" and "entropy" are in nats per token."""
    if kl is None:
        return None
    steps = [step for episode in episodes for step in episode.steps]
    entropy = sum(step.decision.entropy or 0.0 for step in steps)
    tokens = sum(len(step.decision.tokens) for step in steps)
    return {
        "entropy": entropy / tokens,
        "kl": _nats(kl),
        **text_measures([step.decision.command for step in steps]),
        "samples": [[step.observation, step.decision.command] for step in steps[:SAMPLES]],
    }


def _tilted(nodes: collapse.Nodes, tau: float | None) -> dict[str, float | None]:
    """Return the KL to the tilted policy at `tau` ("kl") and at the best tau ("best_kl"), in nats per decision."""
    best_inverse_tau = collapse.best_inverse_tau(nodes)
    return {
        "tau": tau,
        "kl": None if tau is None else _nats(collapse.kl_to_tilted(nodes, 1 / tau)),
        "best_inverse_tau": best_inverse_tau,
        "best_kl": _nats(collapse.kl_to_tilted(nodes, best_inverse_tau)),
    }


def _nats(kl: float) -> float:
    return max(0.0, round(kl, 8))  # rounding errors of float32 logits can make it slightly negative


def implied_temperature(config: TrainConfig) -> float | None:
    """Return the tau that theory predicts for ACTDE, in units of reward.

    Return None if the settings violate the theory's assumptions.
    """
    optimizer_config, update = config.optimizer, config.update
    q_lr = update.lr if update.q_lr is None else update.q_lr
    one_choice = games.resolve(config.run.game)[0].kind == "bandit"
    same_error = optimizer_config.advantage == "return" or optimizer_config.gae_lambda == 0 or one_choice
    no_other_term = (
        optimizer_config.whitening == "none" and optimizer_config.entropy_coef == optimizer_config.kl_coef == 0
    )
    optimizer = make_optimizer(config.run.optimizer, optimizer_config)
    actde_by_sgd = optimizer.needs_q and optimizer.labels == "none" and update.torch_optimizer == "sgd"
    if not (actde_by_sgd and same_error and no_other_term and update.weight_decay == 0):
        return None
    # step size of q / step size of the logits, for tables that SGD trains from a uniform policy
    return 2 * optimizer_config.q_coef * q_lr / update.lr if min(update.lr, q_lr, optimizer_config.q_coef) > 0 else None


def _strategies(
    episodes: Sequence[Episode], paired: PairedAgent, strategy_names: Sequence[str], seed: int
) -> dict[str, Any]:
    """Return effective numbers of strategies. If the game defines strategies, "shares" is a dict: strategy -> share."""
    by_game: dict[str, list[Episode]] = defaultdict(list)
    for episode in episodes:
        by_game["" if strategy_names else episode.game].append(episode)
    tables = [
        diversity.count_labels(
            [paired.strategies.get(episode.index, []) if strategy_names else [_commands(episode)] for episode in group],
            tuple(strategy_names),
        )
        for group in by_game.values()
    ]
    counts_of_games = [counts for counts, _ in tables]
    if not all(counts.sum() > 0 for counts in counts_of_games):
        return {"counted": None, "corrected": None, "policy": None, "shares": None}
    entropy = float(np.mean([diversity.plugin_entropy(counts.sum(axis=0)) for counts in counts_of_games]))
    bounds = diversity.plugin_entropy_interval(counts_of_games, seed)
    low, high = (None, None) if bounds is None else (float(np.exp(bound)) for bound in bounds)
    numbers: dict[str, Any] = {"counted": {"value": float(np.exp(entropy)), "low": low, "high": high}}
    if strategy_names:  # the commands of an episode are not independent, so nothing can be corrected
        total = counts_of_games[0].sum(axis=0)
        shares = dict(zip(tables[0][1], (total / total.sum()).tolist(), strict=True))
        return numbers | {"corrected": None, "policy": None, "shares": shares}
    corrected = np.mean([diversity.chao_shen_entropy(counts.sum(axis=0)) for counts in counts_of_games])
    # by the chain rule, the sum of an episode's entropies is unbiased in deterministic games
    mean_entropies = [
        np.mean([sum(step.decision.entropy or 0.0 for step in episode.steps) for episode in group])
        for group in by_game.values()
    ]
    return numbers | {
        "corrected": float(np.exp(corrected)),
        "policy": float(np.exp(np.mean(mean_entropies))),
        "shares": None,
    }


def _commands(episode: Episode) -> tuple[str, ...]:
    return tuple(step.decision.command for step in episode.steps)


def _wins(episodes: Sequence[Episode]) -> dict[str, Any]:
    if not any(episode.won or episode.max_score is not None for episode in episodes):
        return {"wins": None, "pass_at": None}
    sequences: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    by_game: dict[str, list[bool]] = defaultdict(list)
    for episode in episodes:
        by_game[episode.game].append(bool(episode.won))
        if episode.won:
            sequences[episode.game][_commands(episode)] += 1
    # only games that were won
    entropies = [diversity.plugin_entropy(np.array([*counts.values()])) for counts in sequences.values()]
    wins = {
        "won": sum(counts.total() for counts in sequences.values()),
        "different": sum(map(len, sequences.values())),
        "effective": float(np.exp(np.mean(entropies))) if entropies else None,
    }
    return {"wins": wins, "pass_at": diversity.pass_at(by_game)}
