"""The batched trunk against two references: transformers' GPT-2, and plain torch with the same dropout masks."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from experiments.reproduce.ipd_trials import blocks
from experiments.reproduce.ipd_trials.blocks import D, E, H
from experiments.reproduce.ipd_trials.trial import Recipe
from experiments.reproduce.ipd_trials.trunk import BLOCKS, HEADS, SHAPES, L, Model, Random, S, T
from tests.helpers.dilemma import first, gpt2_names

TRIALS = 2


def _model(dropout: float, *, detach: bool = False, compiled: bool = False) -> Model:
    """Return a model whose weights are large enough for every part to matter."""
    generators = [torch.Generator().manual_seed(3 + trial) for trial in range(TRIALS)]
    model = Model(generators, dropout=dropout, detach_heads=detach, compiled=compiled)
    noise = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.weights.values():
            parameter += 0.3 * torch.randn(parameter.shape, generator=noise)
    return model


def _random(seed: int = 1) -> Random:
    return Random([np.random.SeedSequence(seed + trial) for trial in range(TRIALS)])


def _tokens() -> Tensor:
    return torch.from_numpy(np.random.default_rng(5).integers(0, 2, size=(TRIALS, T, S)))


def _plain(model: Model, tokens: Tensor, random: Random) -> Tensor:
    """Return the last hidden state [N, D, T, S] of the trunk, computed in plain torch and trial by trial."""
    scale = model.scale
    residual = model._residual_masks(random).permute(0, 1, 3, 4, 2) * scale  # [N, 1 + 2 L, T, S, D]
    masks = model._attention_masks([(end, end - begin) for begin, end in BLOCKS], random)
    found = []
    for trial in range(TRIALS):
        w = {name: weight[trial] for name, weight in model.weights.items()}
        x = (w["wte"][tokens[trial]] + w["wpe"][:, None]) * residual[trial, 0]  # [T, S, D]
        for layer in range(L):
            qkv = functional.linear(_norm(x, w, "ln1", layer), w["qkv_weight"][layer], w["qkv_bias"][layer])
            q, k, v = (part.reshape(T, S, H, E) for part in torch.split(qkv, D, dim=-1))
            scores = torch.einsum("tshe,jshe->htjs", q, k) / E**0.5
            later = torch.ones(T, T, dtype=torch.bool).triu(1)[:, :, None]
            p = scores.masked_fill(later, -torch.inf).softmax(dim=2)
            keep = torch.zeros(H, T, T, S)
            for (begin, end), mask in zip(BLOCKS, masks, strict=True):
                keep[:, begin:end, :end] = mask[trial, layer]
            y = torch.einsum("htjs,jshe->tshe", p * keep * scale, v).flatten(2)
            y = functional.linear(y, w["proj_weight"][layer], w["proj_bias"][layer])
            x = x + y * residual[trial, 1 + 2 * layer]
            inner = functional.linear(_norm(x, w, "ln2", layer), w["fc_weight"][layer], w["fc_bias"][layer])
            inner = functional.gelu(inner, approximate="tanh")
            out = functional.linear(inner, w["out_weight"][layer], w["out_bias"][layer])
            x = x + out * residual[trial, 2 + 2 * layer]
        found.append(functional.layer_norm(x, (D,), w["lnf_weight"], w["lnf_bias"]))
    return torch.stack(found).permute(0, 3, 1, 2)


def _norm(x: Tensor, w: dict[str, Tensor], name: str, layer: int) -> Tensor:
    return functional.layer_norm(x, (D,), w[f"{name}_weight"][layer], w[f"{name}_bias"][layer])


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("detach", [False, True])
def test_heads_and_gradients_are_those_of_plain_torch(dropout: float, detach: bool) -> None:
    _same_as_plain(_model(dropout, detach=detach))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own import
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch.compile causes and hides it
@pytest.mark.skipif(not blocks.can_compile(), reason="needs a C++ compiler")
def test_a_compiled_trunk_computes_the_same() -> None:
    _same_as_plain(_model(0.1, compiled=True))
    found, wanted = (_model(0.1, compiled=compiled).generate(_tokens()[:, 0], _random()) for compiled in (True, False))
    assert torch.equal(found[0], wanted[0])
    for a, b in zip(found[1], wanted[1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5)


def _same_as_plain(model: Model) -> None:
    tokens = _tokens()
    shapes = ((TRIALS, 2, T, S), (TRIALS, T, S), (TRIALS, 2, T, S))
    weigh = [torch.randn(s, generator=torch.Generator().manual_seed(6)) for s in shapes]

    def gradients(found: tuple[Tensor, ...]) -> dict[str, Tensor]:
        model.zero_grad()
        sum((a * b).mean() for a, b in zip(found, weigh, strict=True)).backward()  # type: ignore[union-attr]
        return {name: parameter.grad.clone() for name, parameter in model.weights.items()}

    wanted = model.heads(_plain(model, tokens, _random()))
    wanted_gradients = gradients(wanted)
    found = model(tokens, _random())
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5)
    found_gradients = gradients(found)
    assert found_gradients.keys() == wanted_gradients.keys() == (SHAPES | HEADS).keys()
    for name, gradient in found_gradients.items():
        scale = float(wanted_gradients[name].abs().max())
        torch.testing.assert_close(gradient, wanted_gradients[name], rtol=1e-3, atol=2e-4 * scale, msg=name)
        assert scale > 0, name


def test_it_is_the_gpt2_of_transformers() -> None:
    from agents.model.build import new_trunk

    model, tokens = _model(0.0), _tokens()
    lm = new_trunk("pico", 2, 0.0)
    state = lm.state_dict()
    with torch.no_grad():
        state["transformer.wpe.weight"][:T] = first(model)["wpe"]
        for name, mine in gpt2_names(model).items():
            state[name].copy_(mine)
    lm.load_state_dict(state)
    with torch.no_grad():
        wanted = lm(tokens[0].T).logits.log_softmax(dim=-1)  # [S, T, 2]
        found, _, _ = model(tokens, _random())
    torch.testing.assert_close(found[0].permute(2, 1, 0), wanted, rtol=1e-4, atol=1e-5)


def test_the_ratio_is_one_before_the_first_step() -> None:
    """The heads of the update, on whole streams, equal those of the rollout, token by token, up to rounding."""
    model = _model(0.0)
    tokens, played = model.generate(_tokens()[:, 0], _random())
    for a, b in zip(played, model(tokens, _random()), strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=1e-5, atol=2e-6)


def test_actions_come_from_the_policy() -> None:
    model = _model(0.1)
    tokens, (logprobs, _, _) = model.generate(_tokens()[:, 0], _random())
    defect, actions = logprobs[:, 1, :-1].exp().numpy(), tokens[:, 1:].numpy()
    for chance, chosen in zip(defect, actions, strict=True):
        surprise = (chosen - chance).sum() / np.sqrt((chance * (1 - chance)).sum())
        assert abs(surprise) < 4 and 0.05 < chosen.mean() < 0.95
    sure = np.abs(defect - 0.5) > 0.4
    assert sure.sum() > 100
    assert (actions[sure] == (defect[sure] > 0.5)).mean() > 0.9


def test_large_scores_do_not_overflow() -> None:
    q, k, v = (torch.randn(1, H, E, 5, S, generator=torch.Generator().manual_seed(n)) for n in range(3))
    summed, total = blocks.attend(100 * q, 100 * k, v, torch.ones(1, H, 5, 5, S, dtype=torch.uint8))
    assert bool(summed.isfinite().all()) and bool((total >= 1).all())


def test_random_numbers_are_uniform_and_trials_differ() -> None:
    random = _random()
    chance = random.uniform(100_000).numpy()
    assert chance.min() >= 0 and chance.max() < 1
    for own in chance:
        counts, _ = np.histogram(own, bins=64, range=(0, 1))
        expected = len(own) / 64
        assert ((counts - expected) ** 2 / expected).sum() < 63 + 6 * np.sqrt(2 * 63)  # chi squared, 6 deviations
    assert abs(np.corrcoef(chance)[0, 1]) < 0.02
    keep = random.dropout_masks(1_000_003, 0.1)
    assert keep.shape == (TRIALS, 1_000_003) and set(np.unique(keep)) == {0, 1}
    assert keep.float().mean(dim=1).tolist() == pytest.approx([0.9, 0.9], abs=0.002)
    state = random.state()
    again = random.uniform(100)
    random.load_state(state)
    assert random.dropout_masks(100, 0.0).all() and torch.equal(random.uniform(100), again)


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_an_impossible_dropout_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="dropout must be a number of at least 0 and below 1"):
        Recipe(dropout=p)
