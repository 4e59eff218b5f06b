"""The files that a completion game reads."""

from collections.abc import Mapping
from pathlib import Path

from games.completion.prompts import SETS
from games.completion.rewards import parse_reward
from games.parameters import Value

MODEL_FILES = ("*.json", "*.safetensors", "*.bin", "*.txt", "*.model")  # of a sequence classifier and its tokenizer


def input_files(settings: Mapping[str, Value]) -> list[Path]:
    """Return the user's files that a completion game reads: prompts and reward models."""
    prompts, reward = (str(settings.get(name, "")) for name in ("prompts", "reward"))
    files = [] if prompts in ("", *SETS) else [Path(prompts).expanduser()]
    for term in parse_reward(reward) if reward else ():
        if term.is_model:
            # `agent.json` holds the digests of the other files of a reward model
            patterns = ("agent.json",) if term.kind == "rm" else MODEL_FILES
            files += sorted(file for pattern in patterns for file in Path(term.argument).expanduser().glob(pattern))
    return files
