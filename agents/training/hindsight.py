"""Prompts that state a return, for the optimizer `decision`.

During play, prompts state the wanted return, because the obtained return is not known yet. Before the update, the token
streams of the played episodes are rewritten with the obtained returns. The optimizer is trained on these streams.
"""

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
    """Return the prompt format of a run. It states returns if the optimizer learns from them."""
    returns = ReturnText(place=config.rollout.return_text, wanted=config.rollout.wanted_return)
    return prompt_format(config.rollout.prompt, tokenizer, returns if optimizer.labels == "return" else None)


def with_return_words(
    optimizer: Optimizer, vocabulary: Sequence[str] | None, further: Sequence[str]
) -> tuple[Sequence[str] | None, Sequence[str]]:
    """Return the arguments `vocabulary` and `further` of `assemble`, as a tuple.

    If prompts state returns, the words of returns are added to `vocabulary` or, if it is None, to `further`.
    """
    words = [text for place in ("turn", "prefix") for text in ReturnText(place=place).words]
    if optimizer.labels != "return":
        return vocabulary, further
    return (vocabulary, [*further, *words]) if vocabulary is None else ((*vocabulary, *words), further)


def with_obtained_returns(
    config: TrainConfig, agent: LanguageModelAgent, specs: Sequence[Any], episodes: Sequence[Episode]
) -> list[Segment]:
    """Return the segments of the agent's episodes, rewritten with prompts that state the obtained returns.

    All choices are labelled, and hold the outputs of the current model for the new prompts. `episodes` are ordered by
    number. `specs` are their games.
    """
    converter = converter_of(agent, specs, "return")
    truncated = [episode.truncated and not episode.terminated for episode in episodes]
    streams = [converter.segments(episode) for episode in episodes]
    return evaluated_streams(agent.model, config.update, streams, truncated)[0]
