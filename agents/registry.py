"""Builds and loads agents by name or folder."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.protocol import Agent, AgentError, Turn

if TYPE_CHECKING:
    from games import GameSpec

SHIPPED = Path(__file__).parent / "shipped"  # one checkpoint per subfolder
FALLBACKS = {"actde": "actde-small", "ppo": "ppo-small"}  # played if the package of SmolLM2's weights is missing
TRAINED = (*FALLBACKS, *FALLBACKS.values())  # the shipped agents, in display order
NAMES = ("random", "human", "walkthrough", *TRAINED, "smollm2")
DEFAULT_GAME = "textworld:cooking?level=5&split=test&seed=101"  # no shipped agent was trained on this game


def _warn(line: str) -> None:
    warnings.warn(line, RuntimeWarning, stacklevel=4)


def make_agent(
    name_or_folder: str,
    *,
    seed: int,
    greedy: bool = False,
    temperature: float = 1.0,
    top_p: float = 1.0,
    guide_beta: float | None = None,
    wanted_return: float | None = None,
    ask: Callable[[Turn], str] | None = None,
    notify: Callable[[str], None] = _warn,
) -> Agent:
    """Build an agent by name, or load an agent from the folder of a run or checkpoint.

    Args:
        guide_beta: weight of q in the policy, per unit of reward. By default, the weight in training.
        wanted_return: target return, only for the optimizer `decision`. By default, the target in training.
        ask: function that returns a person's command, for the human agent.
        notify: function that receives a message if a smaller agent is used.

    Raises:
        AgentError: the agent is unknown or damaged, or does not accept an argument.
    """
    sampling = {"seed": seed, "greedy": greedy, "temperature": temperature, "top_p": top_p, "guide_beta": guide_beta}
    for option, value in {"--guide-beta": guide_beta, "--wanted-return": wanted_return}.items():
        if value is not None and not math.isfinite(value):
            raise AgentError(f"expected a finite number as {option}, got {value}")
    if guide_beta and name_or_folder in ("random", "walkthrough", "human"):
        raise AgentError(f"{name_or_folder} has no q: leave out --guide-beta")
    agent = _build(name_or_folder, sampling, ask=ask, notify=notify)
    returns = getattr(getattr(agent, "prompt", None), "returns", None)
    if returns is None:
        if wanted_return is not None:
            advice = "leave out --wanted-return, or name a run of decision"
            raise AgentError(f"{name_or_folder} plays for no wanted return: {advice}")
    elif wanted_return is not None:
        returns.target = wanted_return
    elif returns.target is None:
        raise AgentError(f"{name_or_folder} does not know which return to want: give --wanted-return X")
    return agent


def _build(
    name_or_folder: str, sampling: dict[str, Any], *, ask: Callable[[Turn], str] | None, notify: Callable[[str], None]
) -> Agent:
    from agents.play.baselines import HumanAgent, RandomAgent, WalkthroughAgent

    if name_or_folder == "random":
        return RandomAgent(seed=sampling["seed"])
    if name_or_folder == "walkthrough":
        return WalkthroughAgent()
    if name_or_folder == "human":
        if ask is None:
            raise AgentError("the human agent plays in the terminal only")
        return HumanAgent(ask)
    folder = None if name_or_folder == "smollm2" else agent_folder(name_or_folder, notify)
    from agents.storage.checkpoint import load_agent, load_pretrained
    from agents.storage.checkpoint_files import AGENT, newest
    from games.untrusted_files import is_present

    if folder is None:
        return load_pretrained(name_or_folder, **sampling)
    checkpoint = newest(folder)
    if not is_present(folder / AGENT):
        _check_settings(folder)
    return load_agent(checkpoint, **sampling)


def _check_settings(run: Path) -> None:
    from actde import OptimizerError, optimizer_class
    from agents.storage.run_folder import SETTINGS, read_config

    config = read_config(run)
    try:
        if not config.run.imports:  # imported code may have registered the optimizer
            optimizer_class(config.run.optimizer)
    except OptimizerError as error:
        raise AgentError(f"{run / SETTINGS}: {error}") from None


def games_trained_on(name_or_folder: str, specs: Sequence[GameSpec]) -> int | None:
    """Count the games in `specs` that the agent was trained on. Return None if the number is unknown.

    Games of the agent that training started from (`--init`) count as well.
    """
    if name_or_folder in NAMES and name_or_folder not in TRAINED:
        return None
    from agents.storage.checkpoint_files import AGENT, newest, read_json
    from games.game_hash import game_hash

    folder = agent_folder(name_or_folder, lambda line: None)
    hashes = read_json(newest(folder) / AGENT).get("trained_on")
    return None if hashes is None else len({spec.name for spec in specs if game_hash(spec) in set(hashes)})


def agent_folder(name_or_folder: str, notify: Callable[[str], None] = _warn, *, names: Sequence[str] = NAMES) -> Path:
    """Return the folder of an agent, or of a smaller replacement. Raise AgentError if no folder exists."""
    name, folder = name_or_folder, Path(name_or_folder)
    if name in TRAINED:
        folder = SHIPPED / name
        if name in FALLBACKS and not _is_playable(name, notify):
            folder = SHIPPED / FALLBACKS[name]
    if folder.is_dir():
        return folder
    if name in NAMES:
        raise AgentError(f"the trained agent {name!r} is missing: {folder}")
    if (folder.parent / "settings.json").is_file():
        from agents.storage.checkpoint_files import named_checkpoints

        saved = ", ".join(named_checkpoints(folder.parent)) or "none yet"
        raise AgentError(f"the run {folder.parent} has no checkpoint {folder.name!r}; it has {saved}")
    from games.errors import did_you_mean

    expected = f"expected {', '.join(names)} or the folder of a run"
    if folder.exists():
        raise AgentError(f"{name} is a file and no agent: {expected}")
    raise AgentError(f"unknown agent {name!r}: {expected}{did_you_mean(name, names)}")


def trained_folder(name: str) -> Path:
    """Return the folder of a trained agent. Raise AgentError if no folder exists."""
    if name in NAMES and name not in TRAINED:
        raise AgentError(f"{name} has no trained weights; expected {', '.join(TRAINED)} or the folder of a run")
    return SHIPPED / name if name in TRAINED else agent_folder(name, names=TRAINED)


def _is_playable(name: str, notify: Callable[[str], None]) -> bool:
    if not (SHIPPED / name).is_dir():
        return False
    from agents.model.pretrained import missing_packages

    if missing := missing_packages():
        notify(f"{name} plays as {FALLBACKS[name]}: {missing}")
    return missing is None
