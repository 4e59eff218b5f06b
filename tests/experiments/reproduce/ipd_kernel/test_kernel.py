"""The compiled trunk against two references: transformers' GPT-2, and plain torch with the same dropout masks."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from torch import Tensor
from torch.nn import functional

from experiments.reproduce.ipd_kernel import arrays, kernel
from experiments.reproduce.ipd_kernel.kernel import D, E, H, L, S, T
from experiments.reproduce.ipd_kernel.random import LANES, Random, fill
from experiments.reproduce.ipd_kernel.trunk import HEADS, SHAPES, Model
from tests import ROOT
from tests.helpers.dilemma import gpt2_names


def _model(dropout: float, *, detach: bool = False) -> Model:
    """One whose weights are large enough for every part to matter."""
    model = Model(torch.Generator().manual_seed(3), dropout=dropout, detach_heads=detach)
    noise = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.weights.values():
            parameter += 0.3 * torch.randn(parameter.shape, generator=noise)
    return model


def _random(seed: int = 1) -> Random:
    return Random(np.random.SeedSequence(seed))


def _tokens() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 2, size=(T, S))


def _dropped(x: Tensor, noise: np.ndarray, drop: arrays.Dropout) -> Tensor:
    """x [T, D, S] or [T, T, S] where the noise says so."""
    return torch.where(torch.from_numpy(noise >= drop.threshold), x * float(drop.scale), 0.0)


def _plain(model: Model, tokens: np.ndarray, noise: arrays.Noise) -> Tensor:
    """The trunk in plain torch: the last hidden state, [D, T, S]."""
    w, drop = model.weights, model.dropout
    x = w["wte"][torch.from_numpy(tokens)].transpose(1, 2) + w["wpe"][:, :, None]  # [T, D, S]
    x = _dropped(x, noise.embedding, drop)
    lower = np.tril_indices(T)
    for layer in range(L):
        qkv = _affine(_norm(x, w, "ln1", layer), w["qkv_weight"][layer], w["qkv_bias"][layer])
        q, k, v = (part.reshape(T, H, E, S) for part in torch.split(qkv, D, dim=1))
        gathered = []
        for h in range(H):
            scores = torch.einsum("tes,jes->tjs", q[:, h], k[:, h]) / E**0.5
            hidden = torch.ones(T, T, dtype=torch.bool).triu(1)[:, :, None]
            chance = np.zeros((T, T, S), np.uint16)
            chance[lower] = noise.attention[layer, h]
            p = _dropped(scores.masked_fill(hidden, -torch.inf).softmax(dim=1), chance, drop)
            gathered.append(torch.einsum("tjs,jes->tes", p, v[:, h]))
        y = _affine(torch.cat(gathered, dim=1), w["proj_weight"][layer], w["proj_bias"][layer])
        x = x + _dropped(y, noise.residual[layer, 0], drop)
        inner = _affine(_norm(x, w, "ln2", layer), w["fc_weight"][layer], w["fc_bias"][layer])
        inner = functional.gelu(inner, approximate="tanh")
        x = x + _dropped(_affine(inner, w["out_weight"][layer], w["out_bias"][layer]), noise.residual[layer, 1], drop)
    return _layer_norm(x, w["lnf_weight"], w["lnf_bias"]).transpose(0, 1)


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.einsum("oi,tis->tos", weight, x) + bias[:, None]


def _norm(x: Tensor, w: torch.nn.ParameterDict, name: str, layer: int) -> Tensor:
    return _layer_norm(x, w[f"{name}_weight"][layer], w[f"{name}_bias"][layer])


def _layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.layer_norm(x.transpose(1, 2), (D,), weight, bias).transpose(1, 2)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("detach", [False, True])
def test_heads_and_gradients_are_those_of_plain_torch(dropout: float, detach: bool) -> None:
    model, tokens = _model(dropout, detach=detach), _tokens()
    weigh = [torch.randn(s, generator=torch.Generator().manual_seed(6)) for s in ((2, T, S), (T, S), (2, T, S))]

    def gradients(found: tuple[Tensor, ...]) -> dict[str, Tensor]:
        model.zero_grad()
        sum((a * b).mean() for a, b in zip(found, weigh, strict=True)).backward()  # type: ignore[union-attr]
        return {name: parameter.grad.clone() for name, parameter in model.weights.items()}

    wanted = model.heads(_plain(model, tokens, _random().noise(model.dropout)))
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
    from agents.model.build import from_config

    model, tokens = _model(0.0), _tokens()
    lm = from_config("pico", 2, 0.0)
    state = lm.state_dict()
    with torch.no_grad():
        state["transformer.wpe.weight"][:T] = model.weights["wpe"]
        for name, mine in gpt2_names(model).items():
            state[name].copy_(mine)
    lm.load_state_dict(state)
    with torch.no_grad():
        wanted = lm(torch.from_numpy(tokens.T)).logits.log_softmax(dim=-1)  # [S, T, 2]
        found, _, _ = model(tokens, _random())
    torch.testing.assert_close(found.permute(2, 1, 0), wanted, rtol=1e-4, atol=1e-5)


def test_the_ratio_is_one_before_the_first_step() -> None:
    """What the rollout said token by token, the update says again of the whole stream, to rounding."""
    model = _model(0.0)
    tokens, *played = model.generate(_tokens()[0], _random())
    for a, b in zip(played, model(tokens, _random()), strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=1e-5, atol=2e-6)


def test_actions_come_from_the_policy() -> None:
    model = _model(0.1)
    tokens, logprobs, _, _ = model.generate(_tokens()[0], _random())
    defect = logprobs[1, :-1].exp().numpy()
    surprise = (tokens[1:] - defect).sum() / np.sqrt((defect * (1 - defect)).sum())
    assert abs(surprise) < 4 and 0.05 < tokens.mean() < 0.95
    sure = np.abs(defect - 0.5) > 0.4
    assert sure.sum() > 100
    assert (tokens[1:][sure] == (defect[sure] > 0.5)).mean() > 0.9


@njit
def _exponentials(x: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(x)):
        out[i] = kernel.exp(x[i])


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=50))
def test_the_exponential_is_numpys(values: list[float]) -> None:
    x, found = np.array(values, np.float32), np.zeros(len(values), np.float32)
    _exponentials(x, found)
    np.testing.assert_allclose(found, np.exp(np.clip(x.astype(float), -87, 87)), rtol=3e-6)
    small = np.abs(x) < 1
    np.testing.assert_allclose(found[small], np.exp(x[small].astype(float)), rtol=3e-7)


def test_random_numbers_are_uniform_and_lanes_differ() -> None:
    random = _random()
    chance = np.concatenate([random.uniform().ravel() for _ in range(20)])
    assert chance.min() >= 0 and chance.max() < 1
    counts, _ = np.histogram(chance, bins=64, range=(0, 1))
    expected = len(chance) / 64
    assert ((counts - expected) ** 2 / expected).sum() < 63 + 6 * np.sqrt(2 * 63)  # chi squared, 6 deviations
    noise = random.noise(arrays.dropout(0.1))
    share = np.mean(np.concatenate([part.ravel() for part in noise]) < arrays.dropout(0.1).threshold)
    assert share == pytest.approx(0.1, abs=0.001)
    words = np.zeros((200, LANES), np.uint64)
    fill(random.state, words)
    assert len(np.unique(words)) == words.size
    correlation = np.corrcoef((words >> np.uint64(11)).astype(float).T)
    assert np.abs(correlation - np.eye(LANES)).max() < 0.4


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_an_impossible_dropout_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match=r"must be in \[0, 1\)"):
        arrays.dropout(p)


SCRIPT = """
import hashlib, numpy as np, torch
from experiments.reproduce.ipd_kernel.trial import Recipe, Trial
torch.set_num_threads(1)
trial = Trial(Recipe(), np.random.SeedSequence(1))
for _ in range(3):
    trial.step()
state = trial.state()
print(hashlib.sha256(b"".join(state[name].contiguous().numpy().tobytes() for name in sorted(state))).hexdigest())
"""


def test_the_first_run_on_a_machine_is_like_the_second(tmp_path: Path) -> None:
    """Freshly compiled code and code from the cache give the same bits."""
    surroundings = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    root = ROOT
    told = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT], env=surroundings, cwd=root, check=True, capture_output=True
        ).stdout
        for _ in range(2)
    ]
    assert told[0] == told[1] and len(told[0]) > 60
    assert any(tmp_path.rglob("*.nbi"))


def test_numba_still_lets_us_say_that_arrays_do_not_overlap() -> None:
    """Without it everything is right and a third slower; see compiled.py."""
    assert callable(getattr(getattr(kernel.forward, "_compiler", None), "_customize_flags", None))
    assert kernel.forward._compiler._customize_flags.__name__ == "without_overlap"
