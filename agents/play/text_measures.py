"""Measures of the diversity of texts."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from agents.protocol import AgentError

WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")  # a word or a punctuation mark


def text_measures(texts: Sequence[str]) -> dict[str, float]:
    """Return measures of the diversity of texts. All except `words` range from 0 to 1.

    * distinct_1: number of different words, divided by the number of words (Li et al., 2016)
    * distinct_2: number of different pairs of adjacent words, divided by the number of pairs
    * self_bleu: result of `self_bleu` (Zhu et al., 2018)
    * repeated: fraction of the texts that equal an earlier text
    * commonest_word: fraction of the words that equal the most common word
    * commonest_opening: fraction of the texts that begin with the most common pair of first words
    * words: mean number of words per text
    """
    tokenized = [WORD.findall(text.casefold()) for text in texts]
    words = [word for text in tokenized for word in text]
    return {
        "distinct_1": _distinct_share(words),
        "distinct_2": _distinct_share([pair for text in tokenized for pair in pairwise(text)]),
        "self_bleu": self_bleu(texts),
        "repeated": 1.0 - _distinct_share([text.strip() for text in texts]),
        "commonest_word": _top_share(words),
        "commonest_opening": _top_share(tuple(text[:2]) for text in tokenized),
        "words": len(words) / len(texts),
    }


def self_bleu(texts: Sequence[str]) -> float:
    """Return the mean BLEU-4 of the texts, from 0 to 1. A text's references are the other texts."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise AgentError("self-BLEU needs the package sacrebleu: pip install -e '.[rlhf]'") from error
    if len(texts) < 2:
        return 0.0
    bleu = BLEU(lowercase=True, effective_order=True)
    scores = [
        bleu.sentence_score(text, [*texts[:index], *texts[index + 1 :]]).score for index, text in enumerate(texts)
    ]
    return float(sum(scores) / len(scores) / 100)


def _distinct_share(items: Sequence[object]) -> float:
    return len(set(items)) / len(items) if items else 0.0


def _top_share(items: Iterable[object]) -> float:
    counts = Counter(items)
    return max(counts.values()) / counts.total() if counts else 0.0
