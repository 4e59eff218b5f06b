"""Layers that v and q do not share with the policy: a copy of the trunk's layers, which only their losses train."""

import pytest
import torch

from agents.model.actor_critic import ActorCritic
from agents.model.pretrained import missing_packages
from experiments.rlhf import fit_rollouts
from experiments.rlhf.fit import DEFAULT
from experiments.rlhf.fit_rollouts import LAST, Rollout, Texts, with_lower_states, write_rollouts
from experiments.rlhf.fit_training import HeadTrainer, OwnLayers, fit
from experiments.rlhf.sampled_returns import sample_returns
from tests.helpers.models import KINDS, Kind, tiny_model, tokenizer

needs_smollm2 = pytest.mark.skipif(missing_packages() is not None, reason="SmolLM2 or peft is not installed")


def of_tokens(model: ActorCritic, *, texts: int = 4) -> Rollout:
    """Return a rollout whose texts have random tokens and different lengths. The reward is that of the last token."""
    random, vocabulary = torch.Generator().manual_seed(0), len(tokenizer())
    lengths = [7 - row % 4 for row in range(texts)]
    streams = torch.randint(vocabulary, (texts, 7), generator=random)
    for row, length in enumerate(lengths):
        streams[row, length:] = 0
    places = [(row, place) for row in range(texts) for place in range(2, lengths[row])]  # a prompt has three tokens
    rows, positions = (torch.tensor(column) for column in zip(*places, strict=True))
    mask = torch.zeros(texts, 5, dtype=torch.bool).index_put((rows, positions - 2), torch.tensor(True))
    rewards = torch.zeros(mask.shape)
    rewards[torch.arange(texts), mask.sum(1) - 1] = torch.randn(texts, generator=random)
    with torch.no_grad():
        hidden = model.hidden_states(streams, use_cache=False)[rows, positions]
    return Rollout(
        rows=rows,
        columns=positions - 2,
        hidden=hidden,
        tokens=torch.randint(vocabulary, (len(rows),), generator=random),
        rewards=rewards,
        mask=mask,
        texts=Texts(("a",) * texts, streams, positions, 5),
    )


OWN = DEFAULT | {"own_layers": 1, "layers_lr": 3e-3, "q_lr": 1e-2, "value_lr": 1e-2}


@pytest.mark.parametrize("kind", KINDS)
def test_untrained_own_layers_compute_the_hidden_states_of_the_trunk(kind: Kind) -> None:
    model = tiny_model(kind)
    (rollout,) = with_lower_states([of_tokens(model)], model, 1)
    assert rollout.lower is not None and not torch.allclose(rollout.lower.states[0, 2], rollout.hidden[0])
    trainer = HeadTrainer(model.base.get_output_embeddings().weight.detach(), OWN, model)
    torch.testing.assert_close(trainer.states(rollout, torch.arange(len(rollout.tokens))), rollout.hidden)
    choices = torch.tensor([13, 3, 13, 0, 9])  # of texts 3, 0, 3, 0 and 2
    torch.testing.assert_close(trainer.states(rollout, choices), rollout.hidden[choices])


@pytest.mark.parametrize("coefficients", [{"value_coef": 1.0, "q_coef": 0.0}, {"value_coef": 0.0, "q_coef": 1.0}])
def test_the_losses_of_v_and_q_train_own_layers_and_not_the_trunk(coefficients: dict[str, float]) -> None:
    model = tiny_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    (rollout,) = with_lower_states([of_tokens(model)], model, 1)
    trainer = HeadTrainer(model.base.get_output_embeddings().weight.detach(), OWN, model)
    trainer.config = trainer.config.model_copy(update=coefficients)
    assert trainer.own_layers is not None
    kept = {name: tensor.clone() for name, tensor in trainer.own_layers.model.state_dict().items()}
    for _ in range(3):
        trainer.step(rollout, trainer.targets(rollout))
    changed = {
        name for name, tensor in trainer.own_layers.model.state_dict().items() if not torch.equal(tensor, kept[name])
    }
    assert {name.partition("model.")[2].split(".self_attn")[0].split(".mlp")[0] for name in changed} == {
        *("layers.1", "layers.1.input_layernorm.weight", "layers.1.post_attention_layernorm.weight", "norm.weight")
    }
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not torch.allclose(trainer.states(rollout, torch.arange(3)), rollout.hidden[:3], atol=1e-3)


def test_own_layers_learn_what_the_heads_cannot() -> None:
    """The texts of a rollout are few, so layers that are trained can memorise their rewards."""
    model = tiny_model()
    rollouts = with_lower_states([of_tokens(model, texts=24)] * (LAST + 24), model, 1)
    embedding = model.base.get_output_embeddings().weight.detach()
    shared, own = (fit(rollouts, embedding, 0, model=model, **(OWN | {"own_layers": n})) for n in (0, 1))
    assert own["v"] > shared["v"] + 0.3
    still = fit(rollouts, embedding, 0, model=model, **(OWN | {"layers_lr": 0.0}))
    assert still["v"] == pytest.approx(shared["v"], abs=1e-3), "without a rate, they are the layers of the trunk"


@pytest.mark.slow
@needs_smollm2
def test_own_layers_and_samples_of_smollm2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_rollouts, "TEXTS", 4)
    monkeypatch.setattr(fit_rollouts, "ROLLOUTS", 1)
    (rollout,), agent = write_rollouts(0)
    (lower,) = with_lower_states([rollout], agent.model, agent.model.layers - 6)
    assert lower.texts is not None and lower.lower is not None
    with torch.no_grad():
        states = OwnLayers(agent.model, 6)(lower.texts.streams, lower.lower)
    states = states[rollout.rows, lower.texts.positions].float()
    assert ((states - rollout.hidden).norm(dim=1) / rollout.hidden.norm(dim=1)).max() < 0.02
    state = torch.get_rng_state()
    sampled = sample_returns(agent, rollout, "sentiment", seed=(0, 0))
    assert torch.equal(state, torch.get_rng_state())
    assert sampled.returns.shape == (4, 2, 4) and sampled.returns.std() > 0
