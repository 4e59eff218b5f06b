"""Screening and confirmation: training of cells, comparison at matched optimization, and the reports."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.model.pretrained import missing_packages
from agents.protocol import AgentError
from agents.storage.checkpoint_files import INITIAL
from experiments.rlhf import ablation, confirmation, long, runs, screening
from experiments.rlhf.confirmation import CELLS, COMMON
from experiments.rlhf.confirmation_contrasts import CONTRASTS, PAIRS, SEEDS, at_common_level, at_level, contrast_rows
from experiments.rlhf.pages import MEASURES
from experiments.rlhf.tilt_measures import WEIGHTINGS, measure, summary

needs_smollm2 = pytest.mark.skipif(missing_packages() is not None, reason="SmolLM2 or peft is not installed")


def run(cell: str, seed: int, *, entropy_lost: float, steps: int = 5) -> dict[str, Any]:
    """Return the results of a run whose reward and KL rise by 1 a probe, while its entropy falls."""
    probes = []
    for step in range(steps):
        numbers = {name: 0.0 for _, name, _ in MEASURES} | {"reward": float(step), "kl": float(step)}
        numbers |= {"true_reward": step / 2, "entropy": 9 - entropy_lost * step, "distinct_2": 0.5}
        probes.append(numbers | {"iteration": 10 * step, "texts": [f"text {step}"]})
    return {"cell": cell, "seed": seed, "curves": {"reward": [0.0]}, "probes": probes, "reward_model": "0a"}


def test_a_curve_is_read_where_it_first_reaches_a_level() -> None:
    probes = [{"x": x, "y": y} for x, y in ((0.0, 1.0), (2.0, 2.0), (1.0, 9.0), (3.0, 5.0))]
    assert at_level(probes, "x", 0.0, "y") == 1.0
    assert at_level(probes, "x", 1.0, "y") == 1.5
    assert at_level(probes, "x", 2.5, "y") == 6.0
    with pytest.raises(ValueError, match="reaches 3, not 4"):
        at_level(probes, "x", 4.0, "y")


def test_runs_are_compared_at_a_value_that_both_reach() -> None:
    short, long = run("a", 0, entropy_lost=1.0, steps=3), run("b", 0, entropy_lost=2.0, steps=9)
    assert at_common_level(short, long, "reward", "entropy") == pytest.approx((9 - 1.8, 9 - 3.6))
    assert at_common_level(long, short, "kl", "true_reward") == pytest.approx((0.9, 0.9))


def test_contrasts_are_paired_by_seed_and_corrected_for_their_number() -> None:
    finished = [
        run(cell, seed, entropy_lost=1.0 if cell == "actde" else 1.5 + 0.01 * (seed % 3))
        for seed in SEEDS
        for cell in CELLS
        if (cell, seed) != ("ppo", SEEDS[0])
    ]
    rows = {(row["axis"], row["measure"], row["second"]): row for row in contrast_rows(finished)}
    assert len(rows) == len(CONTRASTS) == 21
    entropy, same = rows["reward", "entropy", "ppo"], rows["reward", "distinct_2", "ppo"]
    assert entropy["difference"]["value"] == pytest.approx(0.51 * 3.6, abs=0.01)
    assert entropy["difference"]["seeds"] == len(SEEDS) - 1
    assert rows["kl", "entropy", "ppo-kl"]["difference"]["seeds"] == len(SEEDS)
    assert entropy["p"] <= entropy["p_holm"] < 0.001
    assert same["difference"]["value"] == 0
    assert same["p_holm"] == 1
    assert contrast_rows(finished[:3]) == []


def test_every_contrast_names_a_cell() -> None:
    assert {cell for pair in PAIRS for cell in pair} <= CELLS.keys()


def test_the_reports_hold_the_runs(tmp_path: Path) -> None:
    finished = [run(cell, seed, entropy_lost=1.0) for seed in SEEDS[:2] for cell in CELLS]
    held_out = {"pairs": 300, "value": 0.7, "low": 0.6, "high": 0.8}
    model = {"pairs": 1500, "held_out": held_out}
    models = {"0a": model, "0b": model | {"pairs": 1600}}
    about = {"seeds": SEEDS, "common": COMMON, "cells": CELLS, "reward_models": models}
    for row in finished:
        if row["seed"] == SEEDS[1]:
            row["reward_model"], row["probes"][-1]["repeated"] = "0b", 0.9
    (tmp_path / "confirmation.json").write_text(json.dumps({"about": about, "runs": finished}))
    confirmation.write(tmp_path)
    page = (tmp_path / "confirmation.md").read_text()
    assert "Incomplete: 10 of 50 runs" in page
    assert "seeds 2000, one trained on 1500 pairs" in page and "seeds 2001, one trained on 1600 pairs" in page
    assert "Of 21 contrasts, 0 are significant (p below 0.05)." in page  # all cells are alike
    assert page.count("45% (0% to 100%)") == len(CELLS)  # clipped to the range of a share
    assert "70% of 300 held-out pairs (60% to 80%)" in page
    assert "* `ppo-kl`: `--optimizer ppo`, `--kl-coef 0.02`" in page
    assert "actde - ppo-kl" in page
    assert "| ppo | 40 | 4.00 | 2.00 | 5.00 | 4.00 | 0.50 |" in page  # stopped after the last of five probes
    assert "<svg" in (tmp_path / "confirmation.svg").read_text()


def test_the_long_runs_are_reported_after_each_length_of_a_confirmation(tmp_path: Path) -> None:
    finished = [run(cell, long.SEED, entropy_lost=0.1, steps=41) for cell in long.CELLS]
    about = {"seeds": [long.SEED], "common": long.COMMON, "cells": long.CELLS}
    (tmp_path / "long.json").write_text(json.dumps({"about": about, "runs": finished}))
    long.write(tmp_path)
    page = (tmp_path / "long.md").read_text()
    assert long.COMMON["iterations"] == 400 and "`--iterations 400`" in page
    for cell in long.CELLS:
        rows = [line.split(" | ")[:4] for line in page.splitlines() if line.startswith(f"| {cell} |")]
        assert rows == [[f"| {cell}", f"{n}", f"{n / 10:.2f}", f"{n / 20:.2f}"] for n in range(0, 401, 80)]
    assert "<svg" in (tmp_path / "long.svg").read_text()


def test_the_ablations_are_compared_with_the_confirmation() -> None:
    assert (
        {cell for pair in ablation.PAIRS for cell in pair}
        <= {*ablation.CELLS, *ablation.CONFIRMATION_CELLS}
        <= (ablation.CELLS.keys() | CELLS.keys())
    )
    confirmed = [run(cell, seed, entropy_lost=1.0, steps=9) for seed in SEEDS for cell in CELLS]
    stored = {"about": {"cells": CELLS}, "runs": confirmed}
    about = {"seeds": ablation.SEEDS, "cells": ablation.CELLS}
    own = [run(cell, seed, entropy_lost=0.5, steps=9) for seed in ablation.SEEDS for cell in ablation.CELLS]
    page = ablation.markdown({"about": about, "runs": own}, stored)
    after = [line for line in page.splitlines() if "| rollouts |" in line and "entropy" in line]
    assert [line.split(" | ")[2:6] for line in after] == [  # after 7.2 of 8 steps, 9 - 1.0 or 0.5 for each
        ["ppo-train-q - ppo", "5.40", "1.80", "3.60"],
        ["actde - ppo-train-q", "1.80", "5.40", "-3.60"],
    ]
    assert "Incomplete" not in page and "the 22 contrasts" in page
    page = ablation.markdown({"about": about, "runs": own[:1]}, stored)
    assert "Incomplete: 1 of 6 runs" in page and "the 0 contrasts" in page
    own[-1]["reward_model"] = "0b"
    with pytest.raises(AgentError, match="seed 2007 have the reward models 0a and 0b: expected one"):
        ablation.markdown({"about": about, "runs": own}, stored)


@needs_smollm2
@pytest.mark.slow
def test_cells_are_trained_once(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("The sea was\nShe had a\n")
    common: dict[str, Any] = {"game": "completion?max_tokens=3&reward=length", "iterations": 1}
    common |= {"episodes": 2, "parallel": 2}
    common |= {"probe_prompts": str(prompts), "probe_every": 1, "minibatches": 1, "epochs": 1}
    cells: dict[str, dict[str, Any]] = {"actde": {"optimizer": "actde"}, "ppo": {"optimizer": "ppo"}}
    path, written = tmp_path / "screening.json", list[str]()

    def complete(wanted: dict[str, dict[str, Any]], workers: int) -> list[dict[str, Any]]:
        written.clear()
        update = lambda: written.append(path.read_text())  # noqa: E731
        runs.complete(path, wanted, common, [7], tmp_path / "runs", workers=workers, on_run=update)
        rows: list[dict[str, Any]] = json.loads(path.read_text())["runs"]
        return rows

    first = complete(cells, 1)
    assert [row["cell"] for row in first] == ["actde", "ppo"]
    assert [probe["iteration"] for probe in first[0]["probes"]] == [0, 1]
    assert len(first[0]["probes"][1]["texts"]) == 2
    complete(cells, 1)
    assert written == [path.read_text()]  # the page may be of older code
    path.unlink()
    assert complete(cells, 0) == first
    with pytest.raises(AgentError, match="holds results with other common"):
        runs.complete(path, cells, {}, [7], tmp_path, workers=0, on_run=lambda: None)
    with pytest.raises(AgentError, match=r"was made with --lr 0\.0003, not 1e-05"):
        complete({**cells, "ppo": {"optimizer": "ppo", "lr": 1e-5}}, 1)
    screening.write(tmp_path)
    assert "before training" in (tmp_path / "screening.md").read_text()
    folder = tmp_path / "runs" / "actde-seed7"
    measured = measure(folder / "checkpoints" / "000001", folder / INITIAL, common["game"], str(prompts))
    assert all(0 <= measured[weighting]["r2"] <= 1 for weighting in WEIGHTINGS)
    assert measured["monte_carlo"]["states"] == 2


def test_the_spread_of_q_excludes_its_sampling_error() -> None:
    rng = np.random.default_rng(0)
    states = []
    for _ in range(2000):
        true, error = rng.normal(scale=0.3, size=6), np.full(6, 0.4)
        states.append({"monte_carlo": true + error * rng.normal(size=6), "error": error, "q": true, "log_ratio": -true})
    found = summary(states)
    assert found["spread"]["low"] < 0.3 < found["spread"]["high"]
    assert found["spread"]["value"] == pytest.approx(0.3, abs=0.02)
    assert found["correlation"]["value"] == pytest.approx(0.3 / np.hypot(0.3, 0.4), abs=0.03)
    assert found["log_ratio"]["value"] == pytest.approx(-found["correlation"]["value"])
