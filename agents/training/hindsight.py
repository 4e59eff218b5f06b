"""Prompts of the optimizer `decision` state the target return in play, and the obtained return in the update."""

from collections.abc import Sequence
from typing import Any

from actde import Optimizer
from agents.config import TrainConfig
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.token_stream import Segment
from agents.play.episode import Episode
from agents.text.prompt import PromptFormat, ReturnText, prompt_format
from agents.training.episode_streams import converter_of, evaluated_streams


def prompt_of(config: TrainConfig, tokenizer: Any, optimizer: Optimizer) -> PromptFormat:
    """Return the prompt format of a run."""
    returns = ReturnText(position=config.rollout.return_text, target=config.rollout.wanted_return)
    return prompt_format(config.rollout.prompt, tokenizer, returns if optimizer.labels == "return" else None)


def with_return_words(
    optimizer: Optimizer, vocabulary: Sequence[str] | None, further_texts: Sequence[str]
) -> tuple[Sequence[str] | None, Sequence[str]]:
    """If prompts state returns, add the words for returns. Return a tuple (`vocabulary`, `further_texts`)."""
    words = [text for position in ("turn", "prefix") for text in ReturnText(position=position).words]
    if optimizer.labels != "return":
        return vocabulary, further_texts
    return (vocabulary, [*further_texts, *words]) if vocabulary is None else ((*vocabulary, *words), further_texts)


def with_obtained_returns(
    config: TrainConfig, agent: LanguageModelAgent, specs: Sequence[Any], episodes: Sequence[Episode]
) -> list[Segment]:
    """Convert episodes to labelled segments whose prompts state the obtained returns."""
    converter = converter_of(agent, specs, "return")
    truncated = [episode.truncated and not episode.terminated for episode in episodes]
    streams = [converter.segments(episode) for episode in episodes]
    return evaluated_streams(agent.model, config.update, streams, truncated)[0]
