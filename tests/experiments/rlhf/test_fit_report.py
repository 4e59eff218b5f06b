"""The page of the fit of q: its sections, and the setting with the largest q - v."""

from typing import Any

from experiments.rlhf.fit import markdown


def page_of(*runs: dict[str, dict[str, float]], **more: Any) -> str:
    """Return the page of runs with these explained variances of settings."""
    return markdown({"settings": {}, "runs": [{"seed": n, "settings": run, **more} for n, run in enumerate(runs)]})


def explained(v: float, q: float, advantage: float) -> dict[str, float]:
    return {"v": v, "q": q, "advantage": advantage}


def test_the_best_setting_is_that_of_all_seeds_and_its_v_is_compared() -> None:
    measured = {"q_lr 1e-5": explained(0.03, 0.0, 0.05), "two layers": explained(0.09, 0.0, 0.0)}
    page = page_of(measured | {"lambda 1": explained(0.5, 0.6, 0.4)}, measured)
    assert "In the best setting (q_lr 1e-5), q - v explains 0.05" in page and "a maximum over all settings" in page
    assert "v explains 0.03 of the variance of the return, and up to 0.09 in other settings" in page
    assert "| lambda 1 (1 of 2 seeds) | 0.50 |" in page
    page = page_of(measured | {"q_lr 1e-5": explained(0.1, 0.0, 0.05)})
    assert "In the best setting (q_lr 1e-5)" in page and "has not learned" not in page
    assert "best setting" not in page_of(measured, {})


def test_a_page_of_one_seed_has_all_sections() -> None:
    names = ("6 own layers, rate 1e-5", "1 return per token, both rates 1e-4")
    moments = [[0.28, 0.03, 0.01], [0.57, 0.01, 0.16], [0.4, 0.08, 0.04]]
    ridge = {"100": {"state": 0.1, "state and token": 0.2}}
    page = page_of(dict.fromkeys(names, explained(0.1, 0.05, -0.1)), moments=moments, ridge=ridge)
    assert "3 states, pooled over seed 0, with" in page and "mean over all 2 tokens" in page
    assert "With own layers" in page and "one state of each text, about 1/15 of the states" in page
    assert page.index("| 100 | 0.10 | 0.20 |") < page.index("## What a perfect v and q would explain")


def test_a_page_without_samples_has_no_ceiling() -> None:
    page = page_of({"two layers": explained(0.1, 0.05, -0.1)})
    assert "| two layers | 0.10 | 0.05 | -0.10 |" in page
    assert "own layers" not in page and "per token" not in page and "perfect v" not in page
