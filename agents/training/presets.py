"""Presets for games, trunks and optimizers. The user's settings override them."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from actde.config import option
from actde.errors import ConfigError
from actde.registry import optimizer_class
from agents.config import FIELDS, TrainConfig, flatten, parse
from agents.training.bfloat16 import is_fast_in_bfloat16
from games.untrusted_files import read_text

GIVEN = "given"  # origin of settings given on the command line or in a Python call
MAX_TOML = 1_000_000  # bytes of a TOML file


class Layer(NamedTuple):
    """Settings from one origin, by field name."""

    origin: str
    values: Mapping[str, Any]


ADVENTURES, FREE_TEXT = "text adventures", "games without admissible commands"
_FREE = {"trunk": "smollm2", "mode": "free", "epochs": 2, "minibatches": 2, "value_clip_range": None, "iterations": 80}
GAMES: dict[str, dict[str, Any]] = {
    # an episode is a single action, so nothing is discounted; with 64 episodes, each gradient step covers every arm
    "bandit": {"trunk": "pico", "gamma": 1.0, "episodes": 64, "parallel": 64, "lr": 1e-3, "iterations": 300},
    # settings of the code behind the figures of Turner and Einhorn (2023), with its 10,000 gradient steps
    "ipd": {
        "trunk": "pico",
        "dropout": 0.1,
        "rollout_dropout": True,
        "gamma": 0.5,
        "gae_lambda": 0.95,
        "episodes": 64,
        "parallel": 64,
        "lr": 5e-4,
        "weight_decay": 0.1,
        "iterations": 2500,
        "save_every": 100,
    },
    # tuned for PPO and the small trunk on one `simple` game (NOTES.md)
    ADVENTURES: {
        "trunk": "small",
        "gamma": 0.9,
        "context": 1024,
        "max_turns": 40,
        "episodes": 16,
        "parallel": 16,
        "lr": 7e-4,
        "epochs": 2,
        "minibatches": 4,
        "value_coef": 0.5,
        "value_clip_range": None,  # returns are many points; value changes of at most 0.2 would be too slow
        "entropy_coef": 0.02,
        "iterations": 100,
    },
    # third-party games, in which the agent generates its commands freely
    FREE_TEXT: {**_FREE, "max_turns": 40},
    # one text is one turn, so nothing is discounted; with --gae-lambda 1, v and q are fitted to the text's reward
    "completion": {**_FREE, "gamma": 1.0, "measure_kl": True},
}
"""Presets by kind of game."""

TRUNKS: dict[str, dict[str, Any]] = {
    "smollm2": {
        "lora": 16,
        "dtype": "bfloat16",
        "context": 2048,
        "lr": 1e-4,
        "value_lr": 1e-3,
        "q_lr": 1e-3,
        "micro_batch_tokens": 2048,
        "episodes": 8,
        "parallel": 8,
    },
}
"""Presets by trunk. `trunk_preset` adapts them to the machine."""

GAMES_ON_TRUNKS: dict[tuple[str, str], dict[str, Any]] = {
    # texts are short, so many of them fit into a rollout; ACTDE starts as PPO (dueling); faster heads overfit
    # (docs/rlhf/fit.md)
    ("completion", "smollm2"): {
        "context": 512,
        "lr": 3e-4,
        "value_lr": 1e-4,
        "q_lr": 1e-4,
        "episodes": 32,
        "parallel": 32,
        "dueling": True,
        "detach_value": True,
        "detach_q": True,
    },
}
"""Presets by kind of game and trunk."""

OPTIMIZERS: dict[str, dict[str, Any]] = {
    # many small gradient steps, each on a few new expert episodes; no turn limit, so that walkthroughs can be long
    "imitation": {"episodes": 4, "parallel": 4, "max_turns": None, "epochs": 1, "minibatches": 1, "entropy_coef": 0.0},
    "decision": {"episodes": 4, "parallel": 4, "epochs": 1, "minibatches": 1, "entropy_coef": 0.0},
    "rejection": {"group_size": 8, "entropy_coef": 0.0},
    "rejection-transition": {"credit": "command", "entropy_coef": 0.0},
}
"""Presets by optimizer, for text adventures."""

OPTIMIZERS_ANY_GAME: dict[str, dict[str, Any]] = {
    "grpo": {"group_size": 8},
    "qae": {"group_size": 8},
    "ilql": {"q_heads": 2, "target_q": True, "head_layers": 2, "guide_beta": 4.0, "entropy_coef": 0.0},
}
"""Presets by optimizer, for all games."""

# The losses of the heads must not disturb imitation (NOTES.md): their gradients stop at the trunk. Their small weights
# hardly change the gradient norm, which is clipped. AdamW's steps do not depend on these weights.
_DETACHED_HEADS = {"detach_value": True, "detach_q": True, "value_coef": 0.01, "q_coef": 0.01}
IMITATION: dict[str, dict[str, Any]] = {
    "small": {"lr": 1e-3, "value_lr": 1e-2, "q_lr": 1e-2, **_DETACHED_HEADS},
    "smollm2": {"lr": 3e-4, **_DETACHED_HEADS},
}
"""Presets by trunk, for the optimizers `imitation` and `decision` on text adventures."""

WARM_START: dict[str, dict[str, Any]] = {
    # The value heads were fitted to the expert. Train them alone first, so that the policy is not updated from a wrong
    # baseline. With one epoch and a large epsilon, steps become smaller when the errors become smaller (NOTES.md).
    "small": {
        "lr": 1e-3,
        "adam_eps": 1e-3,
        "value_lr": 1e-3,
        "q_lr": 1e-4,
        "value_coef": 0.1,
        "detach_q": True,
        "entropy_coef": 0.0,
        "epochs": 1,
        "critic_warmup": 4,
        "advantage": "return",
    },
    "smollm2": {
        "lr": 2e-3,  # epsilon exceeds the adapter's gradients, so steps are small
        "adam_eps": 1e-3,
        "value_lr": 3e-4,
        "q_lr": 3e-4,
        **_DETACHED_HEADS,
        "entropy_coef": 0.0,
        "epochs": 1,
        "minibatches": 1,
        "critic_warmup": 8,
        "advantage": "return",
    },
}
"""Presets by trunk, for reinforcement learning on text adventures that starts from --init."""

QUICK: dict[str, Any] = {"game": "completion", "iterations": 40, "lr": 6e-4, "advantage": "return"}
"""Settings of `compare --quick`, with which PPO collapses within a few rollouts."""

UNTRAINED_Q: dict[str, Any] = {"dueling": True}
"""Preset for --reset-q, and for ACTDE if the checkpoint of --init has no q. With dueling heads, q starts at v.

On Text-Nav, ACTDE lost what its policy had learned if q started at 0 (NOTES.md).
"""

WARM_IMITATION: dict[str, Any] = {"lr": 1e-4}
"""Preset for imitation from --init. The learning rate that suits an untrained model would destroy the policy."""


def resolve(explicit: Mapping[str, Any]) -> TrainConfig:
    """Build the configuration of a run from presets. The settings in `explicit` override presets.

    Raise `ConfigError` if a setting is invalid, and `AgentError` if the checkpoint of `init` is missing or damaged.
    """
    return TrainConfig.from_flat(merged(with_presets([Layer(GIVEN, explicit)])))


def from_layers(layers: list[Layer]) -> TrainConfig:
    """Build a configuration from layers. Errors name the option or the origin of an invalid value."""
    try:
        return TrainConfig.from_flat(merged(layers))
    except ConfigError as error:
        if not (name := error.setting):
            raise
        origin = origins(layers)[name]
        message = str(error).replace(name, option(name), 1) if origin == GIVEN else f"{origin}: {error}"
        raise ConfigError(message) from None


def read_toml(path: Path) -> Layer:
    """Read settings from a TOML file. The string "none" stands for None."""
    text = read_text(path, limit=MAX_TOML, error=ConfigError)
    try:
        values = flatten(tomllib.loads(text))
    except (ValueError, RecursionError) as error:
        hint = '; texts need quotes, as in "none"' if str(error).startswith("Invalid value") else ""
        raise ConfigError(f"{path}: {error}{hint}") from None
    if not values:
        raise ConfigError(f"{path}: expected at least one setting, such as lr = 0.001 below [update], got none")
    parsed = {name: parse(name, value) for name, value in values.items() if isinstance(value, str)}
    return Layer(str(path), values | parsed)


def merged(layers: list[Layer]) -> dict[str, Any]:
    """Return a dict: field name -> value. Later layers override earlier layers."""
    return {name: value for layer in layers for name, value in layer.values.items()}


def origins(layers: list[Layer]) -> dict[str, str]:
    return {name: layer.origin for layer in layers for name in layer.values}


def with_presets(explicit: list[Layer]) -> list[Layer]:
    """Return the layers of presets, followed by the user's layers `explicit`."""
    default = Layer("default", {name: field.default for name, field in FIELDS.items()})
    settings = merged([default, *explicit])
    is_complete = all(name in merged(explicit) for name in FIELDS)  # of a run, which has its own copy of the checkpoint
    game = _game_kind(settings, is_complete=is_complete)
    optimizer, init = settings["optimizer"], settings["init"]
    names_trunk = any("trunk" in layer.values for layer in explicit)
    stored_settings = _settings_of_checkpoint(init, reset_q=settings["reset_q"]) if init and not is_complete else {}
    checkpoint = Layer(f"checkpoint {init}".strip(), stored_settings)
    trunk = settings["trunk"] if names_trunk else checkpoint.values.get("trunk", GAMES[game]["trunk"])
    has_choices = game == "completion" and "choices=" in settings["game"]
    layers = [
        default,
        Layer(f"preset of {game}", GAMES[game] | ({"mode": "trie"} if has_choices else {})),
        Layer(f"preset of {trunk}", trunk_preset(trunk)),
        Layer(f"preset of {game} with {trunk}", GAMES_ON_TRUNKS.get((game, trunk), {})),
        Layer(f"preset of {optimizer}", OPTIMIZERS_ANY_GAME.get(optimizer, {})),
    ]
    if game == ADVENTURES:
        imitation = IMITATION.get(trunk, {}) if optimizer in ("imitation", "decision") else {}
        layers.append(Layer(f"preset of {optimizer}", OPTIMIZERS.get(optimizer, {}) | imitation))
        if init and not is_complete:
            imitates = optimizer_class(optimizer).labels != "none"
            layers.append(Layer("preset of --init", WARM_IMITATION if imitates else WARM_START.get(trunk, {})))
    lacks_q = bool(stored_settings) and "q_heads" not in stored_settings and optimizer_class(optimizer).baseline_is_q
    origin = "preset of --reset-q" if settings["reset_q"] else "preset of --init without q"
    untrained_q = Layer(origin, UNTRAINED_Q if settings["reset_q"] or lacks_q else {})
    return [*layers, untrained_q, checkpoint, *explicit]


def trunk_preset(trunk: str) -> dict[str, Any]:
    """Return the preset of a trunk. Machines that are slow in bfloat16 use float32."""
    preset = TRUNKS.get(trunk, {})
    return preset | {"dtype": "float32"} if "dtype" in preset and not is_fast_in_bfloat16() else preset


def with_held_out_prompts(game: str) -> str:
    """Replace the prompts in a completion game's string by held-out prompts."""
    kind, _, query = game.partition("?")
    if kind != "completion":
        raise ConfigError(f"--quick compares optimizers on the completion game, got {game}")
    settings = [part for part in query.split("&") if part and not part.startswith("prompts=")]
    return f"{kind}?{'&'.join([*settings, 'prompts=heldout'])}"


def _game_kind(settings: Mapping[str, Any], *, is_complete: bool) -> str:
    """Return the game's key in the presets `GAMES`: `ADVENTURES` for an unknown game."""
    game: str = settings["game"]
    kind, step_seconds = game.partition("?")[0], settings["step_seconds"]
    if kind in GAMES or (game.startswith("textworld:") and " + " not in game):
        return kind if kind in GAMES else ADVENTURES
    if is_complete:
        return FREE_TEXT if settings["mode"] == "free" else ADVENTURES
    import games  # slow, so it is imported only if the name does not determine the key

    limit = step_seconds if isinstance(step_seconds, int | float) and step_seconds > 0 else None  # not checked yet
    try:
        spec = games.resolve(game, step_seconds=limit)[0]
        if spec.kind in ("open", "suite") and not games.offers_commands(spec):
            return FREE_TEXT
    except games.GameError:
        return ADVENTURES
    return spec.kind if spec.kind in GAMES else ADVENTURES


def _settings_of_checkpoint(folder: str, *, reset_q: bool) -> dict[str, Any]:
    from agents.training.warm_start import settings_of_checkpoint

    return settings_of_checkpoint(Path(folder), reset_q=reset_q)
