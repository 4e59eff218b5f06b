"""Train PPO and ACTDE on the bandit over several seeds, and plot what is left of the policy's entropy.

    python examples/compare_and_plot.py [--seeds 3] [--iterations 60] [--out runs/collapse.svg]

`python cli.py compare` does the same for any games and settings, with intervals, a report and resumable runs.
"""

import argparse
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from agents.training import presets
from agents.training.factory import make_trainer


def entropies(optimizer: str, seed: int, iterations: int) -> list[float]:
    """Train one run. Return the entropy of the policy in each iteration, in nats."""
    settings = {"game": "bandit", "optimizer": optimizer, "seed": seed, "iterations": iterations}
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(presets.resolve(settings), Path(folder) / "run")
        return [metrics["turn_entropy"] for metrics in trainer.run()]


def main() -> None:
    """Train all runs and save the figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("runs/collapse.svg"))
    given = parser.parse_args()
    figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for optimizer in ("ppo", "actde"):
        curves = np.array([entropies(optimizer, seed, given.iterations) for seed in range(given.seeds)])
        (line,) = axis.plot(curves.mean(axis=0), label=optimizer, linewidth=2)
        axis.plot(curves.T, color=line.get_color(), alpha=0.3, linewidth=0.7)
        print(f"{optimizer}: {curves[:, -1].mean():.3f} nats left, mean of {given.seeds} seeds")
    axis.set(xlabel="iteration", ylabel="entropy, nats")
    axis.legend()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(given.out)
    print(f"the figure is in {given.out}")


if __name__ == "__main__":
    main()
