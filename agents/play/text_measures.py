"""Measures of the diversity of texts. A collapsed policy repeats words, openings and whole texts."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from agents.protocol import AgentError

WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")  # a word or a punctuation mark


def text_measures(texts: Sequence[str]) -> dict[str, float]:
    """Return the measures of diversity of texts, without regard to case. All are shares from 0 to 1 except `words`.

    * distinct_1, distinct_2: number of different words divided by the number of words in all texts, and the same for
      pairs of adjacent words (Li et al., 2016)
    * self_bleu: mean BLEU-4 of each text with the other texts as references (Zhu et al., 2018)
    * repeated: share of the texts that are equal to an earlier text
    * commonest_word, commonest_opening: share of the commonest word among all words, and of the commonest first two
      words among all texts
    * words: mean number of words of a text

    Raises:
        AgentError: the package sacrebleu is missing.
    """
    split = [WORD.findall(text.casefold()) for text in texts]
    words = [word for text in split for word in text]
    return {
        "distinct_1": _distinct(words),
        "distinct_2": _distinct([pair for text in split for pair in pairwise(text)]),
        "self_bleu": self_bleu(texts),
        "repeated": 1.0 - _distinct([text.strip() for text in texts]),
        "commonest_word": _commonest(words),
        "commonest_opening": _commonest(tuple(text[:2]) for text in split),
        "words": len(words) / len(texts),
    }


def self_bleu(texts: Sequence[str]) -> float:
    """Return the mean BLEU-4 of each text with the other texts as references, from 0 to 1. It is 0 for a single text.

    Texts are compared without regard to case. Counts of 0 are smoothed exponentially, as sacrebleu does by default.
    """
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise AgentError("self-BLEU needs the package sacrebleu: pip install -e '.[rlhf]'") from error
    if len(texts) < 2:
        return 0.0
    bleu = BLEU(lowercase=True, effective_order=True)
    others = ([*texts[:index], *texts[index + 1 :]] for index in range(len(texts)))
    scores = [bleu.sentence_score(text, rest).score for text, rest in zip(texts, others, strict=True)]
    return float(sum(scores) / len(scores) / 100)


def _distinct(items: Sequence[object]) -> float:
    return len(set(items)) / len(items) if items else 0.0


def _commonest(items: Iterable[object]) -> float:
    counts = Counter(items)
    return max(counts.values()) / counts.total() if counts else 0.0
