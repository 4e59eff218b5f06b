"""ILQL stitches halves of recorded episodes that never occur together. Imitation and wrong variants of ILQL do not."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from actde import OptimizerConfig
from actde.errors import ConfigError
from actde.ilql import ILQL
from agents.config import UpdateConfig
from agents.language_model.recorded_streams import StreamRecorder
from agents.model.actor_critic import ActorCritic
from agents.model.head_outputs import Choices
from agents.play.episode import Episode
from agents.play.runner import EpisodeRunner
from agents.storage.checkpoint import load_agent, read_tensors
from agents.storage.checkpoint_files import INITIAL, WEIGHTS, newest
from agents.storage.run_folder import read_metrics
from agents.text.prompt import PLAIN
from agents.training import presets
from agents.training.data_file import Converter
from agents.training.factory import make_trainer
from agents.training.progress import Progress
from agents.training.recorded_play import RecordedPlay
from agents.training.rollout_batch import RolloutBatch
from agents.training.updater import make_torch_optimizer
from tests.agents.training.test_trainer import trained as trained_run
from tests.helpers.models import agent, assert_close, bigram_model, tiny_model, tokenizer
from tests.helpers.updates import learn, rollout_of, updater

GAMMA, BETA, OPTIMISM = 0.9, 12.0, 1.5


class Junction(gymnasium.Env[str, str]):
    """Two starts, red and blue, lead north to the same lamp. There, `take` earns 1 and `drop` earns 0.

    In both starts, `south` ends the episode. It earns 0.3 in red. `go` ends it, too, and loses a point.
    """

    metadata: dict[str, Any] = {"render_modes": [], "prompt": "", "terminator": "\n"}  # noqa: RUF012

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.room = ("red", "blue")[int(self.np_random.integers(2))]
        return self.room, self._info()

    def step(self, command: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        rewards = {"south": 0.3 if self.room == "red" else 0.0, "north": 0.0, "go": -1.0, "take": 1.0, "drop": 0.0}
        self.room = "lamp" if command == "north" else ""
        return self.room or "you won", rewards[command], not self.room, False, self._info()

    def _info(self) -> dict[str, Any]:
        commands = {"lamp": ["drop", "take"], "": []}.get(self.room, ["go", "north", "south"])
        return {"admissible_commands": commands, "score": 0.0}


@dataclass(frozen=True)
class JunctionSpec:
    name: str = "junction"

    def make(self, *, max_turns: int | None = None, infos: Any = ()) -> Junction:
        return Junction()


def policy_of(words: Any) -> ActorCritic:
    """Return a tabular, uniform policy. Its two Q heads differ, and start near OPTIMISM, which exceeds all returns."""
    torch.manual_seed(0)
    model = bigram_model(torch.zeros(len(words), len(words)), q_heads=2, target_q=True, init_std=0.01)
    assert model.heads.target_q is not None
    with torch.no_grad():
        for head in (*model.heads.q, *model.heads.target_q):
            head.out.bias.fill_(OPTIMISM)
    return model


def played(model: ActorCritic, count: int, **settings: Any) -> list[Episode]:
    with EpisodeRunner([JunctionSpec()], seed=1, parallel=50) as runner:
        return list(runner.play(agent(model, record=False, **settings), count))


def way(episode: Episode) -> tuple[str, ...]:
    return episode.steps[0].observation, *(step.decision.command for step in episode.steps)


@cache
def data() -> list[Episode]:
    """Random episodes without `go`, in which red never leads to `take` and blue never to `drop`."""
    words = tokenizer()
    episodes = played(policy_of(words), 300)
    kept = [e for e in episodes if way(e) not in (("red", "north", "take"), ("blue", "north", "drop"))]
    return [e for e in kept if "go" not in way(e)]


def trained(path: Path, name: str = "ilql", *, optimizer: Any = None, iterations: int = 60, **learning: Any) -> Any:
    """Return a model that learned from `data()`."""
    words = tokenizer()
    model = policy_of(words)
    converter = Converter(
        StreamRecorder(words, PLAIN, mode="trie", context=64, gamma=GAMMA), {"": ("", "\n")}, labels="recorded"
    )
    path.write_text("".join(converter.lines(("source", episode) for episode in data())))
    config = UpdateConfig(lr=0.05, target_rate=0.1)
    update = updater(
        model,
        name,
        torch_optimizer=make_torch_optimizer(model, config),
        learning=OptimizerConfig(gamma=GAMMA, value_coef=1.0, **learning),
        epochs=2,
        target_rate=0.1,
    )
    update.optimizer = optimizer(update.optimizer.config) if optimizer else update.optimizer
    recorded = RecordedPlay(path, model, config, count=999, vocabulary=len(words))
    for iteration in range(iterations):
        segments, _ = recorded.segments(iteration, Progress())
        update.learn(RolloutBatch(segments, credit="token"), np.random.default_rng(iteration))
    return model


def success(model: ActorCritic, **settings: Any) -> float:
    """Share of the episodes that start in red and earn 1."""
    ways = [way(episode) for episode in played(model, 200, **settings)]
    return float(np.mean([w[1:] == ("north", "take") for w in ways if w[0] == "red"]))


class MonteCarlo(ILQL):
    """Wrong variant: q is fitted to the return of its own episode."""

    def __init__(self, config: OptimizerConfig) -> None:
        super().__init__(config)
        self.config = self.config.replace(gae_lambda=1.0)


def test_the_data_hold_both_halves_but_never_together() -> None:
    ways = {way(episode) for episode in data()}
    assert ways == {("red", "south"), ("red", "north", "drop"), ("blue", "south"), ("blue", "north", "take")}


def test_ilql_stitches_two_halves(tmp_path: Path) -> None:
    model = trained(tmp_path / "data")
    assert success(model, guide_beta=BETA) > 0.95
    assert success(model) < 0.4, "the policy without guidance is imitated"
    assert success(model, guide_beta=-BETA) < 0.05, "the wrong sign"
    tokens = [tokenizer().convert_tokens_to_ids(word) for word in ("north", "south", "take", "drop")]
    with torch.no_grad():
        for head in model.heads.target_q:
            permuted = [tokens[index] for index in (1, 0, 3, 2)]
            head.out.weight[tokens] = head.out.weight[permuted]
            head.out.bias[tokens] = head.out.bias[permuted]
    assert success(model, guide_beta=BETA) < 0.05, "q of the other action"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("imitation", {}),
        ("ilql", {"optimizer": MonteCarlo}),
        ("ilql", {"expectile": 0.1}),
        ("ilql", {"cql_coef": 0.0}),
    ],
)
def test_what_ilql_consists_of_is_needed(name: str, wrong: dict[str, Any], tmp_path: Path) -> None:
    """It fails without the one-step target, the expectile, or the conservative loss that lowers q of `go`."""
    assert success(trained(tmp_path / "data", name, **wrong), guide_beta=BETA) < 0.4


# The parts


@pytest.mark.parametrize("vocabulary", [False, True], ids=["alternatives", "vocabulary"])
def test_the_conservative_loss_sums_over_all_alternatives(vocabulary: bool) -> None:
    """Values and gradients equal those of a plain log softmax. Padding has no weight."""
    model = tiny_model(q_heads=2)
    torch.manual_seed(0)
    hidden = torch.randn(1, 70, 16, requires_grad=True)
    rows, every = torch.zeros(70, dtype=torch.int64), torch.arange(len(tokenizer()))
    few = torch.tensor([[3, 5, -1], [2, 4, 6]] * 35)
    chosen = torch.zeros(70, dtype=torch.int64) if vocabulary else torch.tensor([1, 2] * 35)
    choices = Choices(
        rows=rows,
        positions=torch.arange(70),
        alternatives=few[:, 2:].clamp_min(7) if vocabulary else few,
        chosen=chosen,
        whole_vocabulary=vocabulary,
    )
    found = model.evaluate_choices(hidden, choices, with_q_logprobs=True).q_logprobs
    q = model.heads.q_values(hidden[0], every, model.base.get_output_embeddings().weight)  # [70, V, 2]
    if vocabulary:
        wanted = q.log_softmax(1)[torch.arange(70), choices.alternatives[:, 0]]
    else:
        odd = q[::2, [3, 5]].log_softmax(1)[:, 1], q[1::2, [2, 4, 6]].log_softmax(1)[:, 2]
        wanted = torch.stack(odd, dim=1).reshape(70, 2)
    assert_close(found, wanted)
    weights = torch.randn(70, 2)
    ours, theirs = (torch.autograd.grad((weights * x).sum(), hidden, retain_graph=True)[0] for x in (found, wanted))
    assert_close(ours, theirs)


def test_target_heads_move_by_polyak_averaging_only() -> None:
    model = tiny_model(q_heads=2, target_q=True)
    update = updater(model, "ilql", target_rate=0.25, lr=0.1)
    before = [x.clone() for x in model.heads.target_q.parameters()]
    old = [x.clone() for x in model.heads.q.parameters()]
    learn(update, rollout_of(model))
    new = list(model.heads.q.parameters())
    assert any(not torch.equal(one, other) for one, other in zip(old, new, strict=True))
    for target, start, q in zip(model.heads.target_q.parameters(), before, new, strict=True):
        assert target.grad is None
        assert not target.requires_grad
        assert_close(target, 0.75 * start + 0.25 * q)


def run_config(**changes: Any) -> Any:
    """Configuration of a tiny run of ILQL on a text adventure."""
    usual = {"game": "textworld:simple?seed=1", "optimizer": "ilql", "episodes": 2, "iterations": 2, "max_turns": 6}
    return presets.resolve(usual | {"parallel": 2, "tracker": "none"} | changes)


def test_a_run_mixes_data_with_guided_play_and_its_agent_is_guided(tmp_path: Path) -> None:
    trained_run(run_config(data="random:3", data_share=0.5, guide_beta=3.0), tmp_path / "run")
    agents = [load_agent(tmp_path / "run"), load_agent(tmp_path / "run", guide_beta=0.0)]
    assert [agent.guide_beta for agent in agents] == [3.0, 0.0]
    model = agents[0].model
    assert (len(model.heads.q), model.heads.target_q is None) == (2, False)
    assert "cql_loss" in read_metrics(tmp_path / "run")[-1]


def test_a_frozen_policy_does_not_change_while_q_learns(tmp_path: Path) -> None:
    """The cheapest form of the tilted prior: any optimizer with lr 0, detached heads and guided play."""
    settings = {"optimizer": "actde", "lr": 0.0, "detach_q": True, "detach_value": True, "guide_beta": 2.0}
    trained_run(run_config(**settings, q_lr=0.01, value_lr=0.01), tmp_path / "run")
    before, after = (
        read_tensors(folder / WEIGHTS) for folder in (tmp_path / "run" / INITIAL, newest(tmp_path / "run"))
    )
    changed = {name for name, x in before.items() if not torch.equal(x, after[name])}
    assert any(name.startswith("heads.q") for name in changed)
    assert all(name.startswith(("heads.value", "heads.q")) for name in changed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "ppo", "guide_beta": 1.0}, "--guide-beta needs q: give --train-q, because ppo trains none"),
        (
            {"optimizer": "actde", "guide_beta": 1.0},
            "--guide-beta plays another policy than actde trains: expected --lr 0",
        ),
        (
            {"optimizer": "actde", "guide_beta": 1.0, "lr": 0.0},
            "--lr 0 with --guide-beta trains v and q alone: give --q",
        ),
        (
            {"optimizer": "actde", "guide_beta": 1.0, "lr": 0.0, "q_lr": 0.01},
            "--lr 0 with --guide-beta trains v and q alone: give --q-lr above 0 and --value-lr",
        ),
        ({"credit": "command"}, "ilql needs credit per token: expected --credit token, got command"),
        (
            {"optimizer": "rejection", "guide_beta": 1.0, "credit": "command"},
            "--guide-beta needs q of every token: expected",
        ),
        ({"q_heads": 0}, "ilql trains q: expected --q-heads 1 or 2, got 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_trainer(run_config(**changes), tmp_path / "run")
