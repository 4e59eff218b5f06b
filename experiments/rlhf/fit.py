"""Which settings make q fit on free text? Train the heads alone while the policy is fixed.

    python -m experiments.rlhf.fit --out docs/rlhf

SmolLM2 writes the texts of some rollouts. Only the heads are trained, so the hidden states are fixed and computed only
once. Each setting trains v and q online, as `train` does: the heads predict a rollout, then learn from it. The
explained variance of the predictions is averaged over the last rollouts.

A ridge regression on all earlier rollouts shows what a linear function of the hidden state can explain.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor
from torch.nn.functional import pad
from typing_extensions import TypedDict

from actde import OptimizerConfig
from actde.returns import lambda_advantages, lambda_returns, td_errors
from agents.config import ModelConfig
from agents.language_model.agent import LanguageModelAgent
from agents.model.actor_critic import ActorCritic
from agents.model.build import assemble
from agents.model.heads import Heads
from agents.play.runner import EpisodeRunner
from agents.protocol import AgentError
from agents.training.rollout_batch import RolloutBatch
from experiments import program
from experiments.compare.intervals import over_runs
from experiments.tables import interval, table
from games import resolve
from games.files import atomic_write, exclusive
from games.untrusted_files import read_json

GAME = "completion?reward=sentiment"
TEXTS, ROLLOUTS, LAST = 32, 40, 16
"""Texts per rollout, rollouts of a run, and number of last rollouts over which the explained variance is averaged."""


class StoredFits(TypedDict):
    settings: dict[str, Any]
    runs: list[dict[str, Any]]


DEFAULT: dict[str, Any] = {
    "q_lr": 1e-3,
    "value_lr": 1e-3,
    "layers": 1,
    "epochs": 2,
    "dueling": True,
    "gae_lambda": 0.95,
    "target_q": False,
    "q_heads": 1,
    "weight_decay": 0.0,
    "replay": 1,
}
CHANGES: dict[str, dict[str, Any]] = {
    "both rates 1e-3": {},
    "q_lr 1e-2": {"q_lr": 1e-2},
    "q_lr 3e-4": {"q_lr": 3e-4},
    "q_lr 1e-4": {"q_lr": 1e-4},
    "q_lr 1e-5": {"q_lr": 1e-5},
    "both rates 1e-4": {"q_lr": 1e-4, "value_lr": 1e-4},
    "both rates 1e-5": {"q_lr": 1e-5, "value_lr": 1e-5},
    "two layers": {"layers": 2},
    "two layers, both rates 1e-4": {"layers": 2, "q_lr": 1e-4, "value_lr": 1e-4},
    "not dueling": {"dueling": False},
    "not dueling, both rates 1e-4": {"dueling": False, "q_lr": 1e-4, "value_lr": 1e-4},
    "target heads": {"target_q": True},
    "two Q heads": {"q_heads": 2},
    "lambda 1": {"gae_lambda": 1.0},
    "lambda 1, both rates 1e-4": {"gae_lambda": 1.0, "q_lr": 1e-4, "value_lr": 1e-4},
    "8 epochs": {"epochs": 8},
    "8 epochs, both rates 1e-4": {"epochs": 8, "q_lr": 1e-4, "value_lr": 1e-4},
    "8 rollouts of replay": {"replay": 8},
    "8 rollouts of replay, both rates 1e-4": {"replay": 8, "q_lr": 1e-4, "value_lr": 1e-4},
    "weight decay 1": {"weight_decay": 1.0},
}
"""Changes of `DEFAULT`, by name."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """A rollout of a fixed policy: N choices (sampled tokens) in B texts of up to T choices.

    Attributes:
        rows, columns: [N] text and position of each choice.
        hidden: [N, d] hidden states.
        tokens: [N] the chosen tokens.
        rewards, mask: [B, T] rewards, and where a choice exists. Only the last choice of a text has a reward.
    """

    rows: Tensor
    columns: Tensor
    hidden: Tensor
    tokens: Tensor
    rewards: Tensor
    mask: Tensor

    def returns(self, values: Tensor, gae_lambda: float) -> Tensor:
        """Return the lambda-returns [N] with gamma 1, given v [N]."""
        v = values.new_zeros(self.mask.shape).index_put((self.rows, self.columns), values)
        following, more = (pad(x[:, 1:], (0, 1)) for x in (v, self.mask.float()))
        errors = td_errors(self.rewards, more, following, v, self.mask)
        advantages = lambda_advantages(errors, more, gae_lambda)
        return lambda_returns(v, advantages, self.mask)[self.rows, self.columns]


@torch.no_grad()
def write_rollouts(seed: int) -> tuple[list[Rollout], ActorCritic]:
    """Return a tuple (rollouts, model): the rollouts that SmolLM2 wrote without training, and SmolLM2 itself."""
    torch.manual_seed(seed)
    model, tokenizer = assemble(ModelConfig(trunk="smollm2", dtype="bfloat16"), None)
    agent = LanguageModelAgent(model.eval(), tokenizer, mode="free", seed=seed, record=True)
    rollouts = []
    with EpisodeRunner(resolve(GAME), seed=seed, parallel=TEXTS) as runner:
        for _ in range(ROLLOUTS):
            list(runner.play(agent, TEXTS))
            batch = RolloutBatch(agent.take_segments(), credit="token")
            part, recorded = batch.micro_batch(range(len(batch))), batch.batch(with_q=False)
            states = model.hidden_states(part.tokens, use_cache=False)
            rollouts.append(
                Rollout(
                    rows=part.choices.rows,
                    columns=part.action_index,
                    hidden=states[part.choices.rows, part.choices.positions].float(),
                    tokens=part.choices.alternatives[:, 0],
                    rewards=recorded.rewards,
                    mask=recorded.mask,
                )
            )
    return rollouts, model


def fit(rollouts: Sequence[Rollout], embedding: Tensor, seed: int, **setting: Any) -> dict[str, float]:
    """Train heads online. Return the explained variances of `_explained`, averaged over the last rollouts.

    `embedding` [V, d] is the output embedding of the trunk.
    """
    torch.manual_seed(seed)
    width = embedding.shape[1]
    names = ("q_heads", "layers", "target_q", "dueling")
    heads = Heads(width, len(embedding), tied=True, detach_q=True, **{name: setting[name] for name in names})
    groups = [
        {"params": list(heads.value.parameters()), "lr": setting["value_lr"]},
        {"params": list(heads.q.parameters()), "lr": setting["q_lr"]},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=setting["weight_decay"])
    config = OptimizerConfig(gamma=1.0, gae_lambda=setting["gae_lambda"], value_clip_range=None)
    scores: list[tuple[float, float, float]] = []
    for index, rollout in enumerate(rollouts):
        v, q = _predict(heads, rollout, embedding, target=setting["target_q"])
        scores.append(_explained(rollout, v, q))
        targets = [(rollout, rollout.returns(v, setting["gae_lambda"]))]
        for earlier in rollouts[max(0, index + 1 - setting["replay"]) : index]:
            targets.append((earlier, earlier.returns(_predict(heads, earlier, embedding)[0], setting["gae_lambda"])))
        for _ in range(setting["epochs"]):
            for batch, returns in targets:
                _steps(heads, optimizer, batch, returns, embedding, config)
    columns = zip(("v", "q", "advantage"), zip(*scores[-LAST:], strict=True), strict=True)
    return {name: float(np.mean(column)) for name, column in columns}


def _steps(
    heads: Heads,
    optimizer: torch.optim.Optimizer,
    batch: Rollout,
    returns: Tensor,
    embedding: Tensor,
    config: OptimizerConfig,
) -> None:
    """Take two gradient steps on the losses of v and q, each on half of the texts."""
    for half in (batch.rows % 2 == 0, batch.rows % 2 == 1):
        hidden, tokens, targets = batch.hidden[half], batch.tokens[half], returns[half]
        q = _q_of(heads, hidden, tokens, embedding)
        value_loss = 0.5 * (heads.values(hidden) - targets).square().mean()
        q_loss = (q - targets[:, None]).square().sum(-1).mean()
        optimizer.zero_grad()
        (config.value_coef * value_loss + config.q_coef * q_loss).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(heads.parameters(), 1.0)
        optimizer.step()
        heads.sync_targets(0.005)


def _q_of(heads: Heads, hidden: Tensor, tokens: Tensor, embedding: Tensor, *, target: bool = False) -> Tensor:
    """Return q of one token per state. The shape is [N, H]."""
    distinct, index = torch.unique(tokens, return_inverse=True)
    q = heads.q_values(hidden, distinct, embedding[distinct], target=target)
    return q.take_along_dim(index[:, None, None], 1)[:, 0]


@torch.no_grad()
def _predict(heads: Heads, rollout: Rollout, embedding: Tensor, *, target: bool = False) -> tuple[Tensor, Tensor]:
    q = _q_of(heads, rollout.hidden, rollout.tokens, embedding, target=target).amin(-1)
    return heads.values(rollout.hidden), q


def _explained(rollout: Rollout, v: Tensor, q: Tensor) -> tuple[float, float, float]:
    """Return three explained variances: of the returns by v, of the returns by q, and of returns - v by q - v."""
    returns = rollout.returns(torch.zeros_like(v), 1.0)
    total, by_v, by_q = (float((returns - prediction).var()) for prediction in (torch.zeros_like(v), v, q))
    return 1 - by_v / total, 1 - by_q / total, 1 - by_q / by_v


def ridge(rollouts: Sequence[Rollout], embedding: Tensor, penalty: float) -> dict[str, float]:
    """Return the explained variances of two ridge regressions: without and with the token's embedding as a feature.

    Both use the hidden state. The last `LAST` rollouts are for evaluation, and all earlier rollouts are for training.
    """
    states = [rollout.hidden for rollout in rollouts]
    both = [torch.cat([rollout.hidden, embedding[rollout.tokens]], 1) for rollout in rollouts]
    returns = [rollout.returns(torch.zeros(len(rollout.tokens)), 1.0) for rollout in rollouts]
    result = {}
    for name, features in (("state", states), ("state and token", both)):
        x, test = (torch.cat(part).double() for part in (features[:-LAST], features[-LAST:]))
        y, truth = (torch.cat(part).double() for part in (returns[:-LAST], returns[-LAST:]))
        mean, std, level = x.mean(0), x.std(0) + 1e-6, y.mean()
        x = (x - mean) / std
        solution = torch.linalg.solve(x.T @ x + penalty * torch.eye(x.shape[1], dtype=x.dtype), x.T @ (y - level))
        predicted = (test - mean) / std @ solution + level
        result[name] = float(1 - (truth - predicted).var() / truth.var())
    return result


def markdown(results: Mapping[str, Any]) -> str:
    """Return the text of `fit.md`."""
    rows = []
    for name in CHANGES:
        found = [run["settings"][name] for run in results["runs"]]
        rows.append([name, *(_mean([run[key] for run in found]) for key in ("v", "q", "advantage"))])
    best = max(float(np.mean([run["settings"][name]["advantage"] for run in results["runs"]])) for name in CHANGES)
    kinds = ("state", "state and token")
    ridges = [
        [penalty, *(_mean([run["ridge"][penalty][kind] for run in results["runs"]]) for kind in kinds)]
        for penalty in results["runs"][0]["ridge"]
    ]
    return "\n".join(
        [
            "# Does q fit on free text?",
            "",
            f"SmolLM2 without training writes {ROLLOUTS} rollouts of {TEXTS} texts, `{GAME}`. Only the heads are"
            " trained, online. Explained variance of the undiscounted Monte Carlo return in the last"
            f" {LAST} rollouts, before each is learned; means over {len(results['runs'])} seeds with 95% t intervals. 0"
            " is a constant, 1 is perfect. The last column is the share of the variance left by v that q - v explains:"
            " what ACTDE's baseline adds to PPO's. Command: `python -m experiments.rlhf.fit --out docs/rlhf  # 10 s"
            " if nothing is missing`.",
            "",
            f"In the best setting, q - v explains {best:.2f} of the variance that v leaves.",
            "",
            table(["setting", "v", "q", "q - v"], rows),
            "\nRidge regressions on all earlier rollouts, for comparison:\n",
            table(["penalty", "hidden state", "hidden state and the token's embedding"], ridges),
            "",
        ]
    )


def _mean(values: Sequence[float]) -> str:
    estimate = over_runs(values, (-float("inf"), 1.0))
    return interval(None if estimate is None else asdict(estimate), ".2f")


def main(
    out: Annotated[Path, typer.Option(help="folder of fit.md and fit.json")],
    seeds: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Fit all settings on the seeds that `fit.json` lacks.

    Raises:
        AgentError: the results in `fit.json` have other settings. The file is not changed.
    """
    path, settled = out / "fit.json", {"default": DEFAULT, "changes": CHANGES}
    with exclusive(out, path.name, "fit.md"):
        stored: dict[str, Any] = {"settings": settled, "runs": []}
        if path.is_file():
            stored = read_json(path, StoredFits, error=AgentError)
        if stored["settings"] != settled:
            raise AgentError(f"{path} holds results with other settings; move the file away, or use the same ones")
        runs = stored["runs"]
        for seed in range(len(runs), seeds):
            rollouts, model = write_rollouts(seed)
            embedding = model.base.get_output_embeddings().weight.detach().float()
            settings = {name: fit(rollouts, embedding, seed, **(DEFAULT | change)) for name, change in CHANGES.items()}
            ridges = {f"{penalty:g}": ridge(rollouts, embedding, penalty) for penalty in (1e2, 1e3, 1e4, 1e5)}
            runs.append({"seed": seed, "settings": settings, "ridge": ridges})
            atomic_write(path, json.dumps({"settings": settled, "runs": runs}, allow_nan=False) + "\n")
            atomic_write(out / "fit.md", markdown({"runs": runs}))


if __name__ == "__main__":
    program.run(main)
