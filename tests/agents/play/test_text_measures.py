"""Measures of the diversity of texts."""

import pytest

from agents.play.text_measures import self_bleu, text_measures


def test_measures_by_hand() -> None:
    texts = ["The sea, the sea", "the SEA is blue", "a red sky", "a red sky"]
    measures = text_measures(texts)
    # the sea , the sea / the sea is blue / a red sky / a red sky: 15 words, 11 pairs
    assert measures["distinct_1"] == pytest.approx(8 / 15)
    assert measures["distinct_2"] == pytest.approx(7 / 11)  # the-sea, sea-comma, comma-the, sea-is, is-blue, a-red, ...
    assert measures["repeated"] == pytest.approx(1 / 4)
    assert measures["commonest_word"] == pytest.approx(3 / 15)
    assert measures["commonest_opening"] == pytest.approx(2 / 4)
    assert measures["words"] == pytest.approx(15 / 4)


def test_self_bleu_is_1_for_equal_texts_and_0_for_different_ones() -> None:
    assert self_bleu(["so good and so fine"] * 3) == pytest.approx(1.0)
    assert self_bleu(["one two three four five", "six seven eight nine ten"]) < 0.1
    assert self_bleu(["alone"]) == 0.0


def test_self_bleu_by_hand() -> None:
    # n-gram precisions of the first two texts: 4/5, 3/4, 2/3 and 1/2. The third text shares one word with the others,
    # and its other counts of 0 are smoothed to 1/2, 1/4 and 1/8.
    texts = ["so good and so fine", "so good AND so bad", "we are so very old"]
    close, far = (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4), (1 / 5 * 0.5 / 4 * 0.25 / 3 * 0.125 / 2) ** (1 / 4)
    assert self_bleu(texts) == pytest.approx((2 * close + far) / 3)


def test_empty_texts_are_measured() -> None:
    measures = text_measures(["", ""])
    assert measures["distinct_1"] == measures["commonest_word"] == measures["words"] == 0.0
    assert measures["repeated"] == 0.5 and measures["commonest_opening"] == 1.0
