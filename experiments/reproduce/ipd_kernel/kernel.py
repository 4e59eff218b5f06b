"""The post's trunk, forward and backward, as compiled loops over the streams: a GPT-2 of 3 layers and 12 dims.

A trunk so small spends its time in the overhead of tensor operations and in moving [T, T] matrices through
memory. Here one token of one layer is the unit of work: everything that it touches stays in the cache, and the
64 streams are the innermost axis, so that each loop over them is a row of vector instructions. The rollout and the
update run the same functions, in another order.

A pass draws no random number: dropout compares those of its argument `Noise` with a threshold. Leaves out heads and
losses, which are torch's (trunk.py), and what the records of arrays are (arrays.py). All that is compiled together
stands in this one file, because the cache of compiled code notices a change of this file only (after one of
compiled.py, remove the caches, __pycache__/*.nb?).

Shapes: L layers, H heads of E dims, D = H E, F = 4 D, T positions, S streams.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from experiments.reproduce.ipd_kernel.compiled import FAST, compiled, inlined

if TYPE_CHECKING:
    from experiments.reproduce.ipd_kernel.arrays import Activations, Dropout, Gradients, Noise, Scratch, Weights

L: Final = 3
H: Final = 3
E: Final = 4
D: Final = H * E
F: Final = 4 * D
T: Final = 101
"""The token before the first action, and 100 actions; the last one's value is the bootstrap."""
S: Final = 64
PAIRS: Final = T * (T + 1) // 2
"""Pairs of a position and one that it attends to: row t begins at t (t + 1) / 2."""


_f = np.float32
ZERO, HALF, ONE, THREE = _f(0), _f(0.5), _f(1), _f(3)
LOWEST = _f(-3e38)
ATTENTION_SCALE = _f(E**-0.5)
WIDTH, EPSILON = _f(D), _f(1e-5)
SLOPE, CUBIC = _f(2 * math.sqrt(2 / math.pi)), _f(0.044715)


def _bitcast(context: Any, bits: Any) -> Any:
    """The float32 with these 32 bits."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), generate


_from_bits: Any = intrinsic(_bitcast)

LOG2_E, LN2_HIGH, LN2_LOW = _f(1.44269504), _f(0.693359375), _f(-2.12194440e-4)
P0, P1, P2 = _f(1.9875691500e-4), _f(1.3981999507e-3), _f(8.3334519073e-3)
P3, P4, P5 = _f(4.1665795894e-2), _f(1.6666665459e-1), _f(5.0000001201e-1)
EXPONENT_BIAS, MANTISSA_BITS = np.int32(127), np.int32(23)


@njit(inline="always", fastmath=FAST)
def exp(x: Any) -> Any:
    """e^x in float32 to 2e-7 for |x| <= 87, and the nearest of these ends beyond them.

    numpy's is a call, which keeps a loop from becoming vector code. x = n ln 2 + r; 2^n is made from its bits
    and e^r is Cephes' minimax polynomial (Moshier, expf).
    """
    x = min(max(x, _f(-87.0)), _f(87.0))
    n = np.floor(x * LOG2_E + HALF)
    r = x - n * LN2_HIGH - n * LN2_LOW
    series = ((((P0 * r + P1) * r + P2) * r + P3) * r + P4) * r + P5
    return (series * r * r + r + ONE) * _from_bits(np.int32((np.int32(n) + EXPONENT_BIAS) << MANTISSA_BITS))


@inlined
def _linear(out: Any, weight: Any, bias: Any, x: Any) -> None:
    """out = weight x + bias; in steps of 12 inputs, which every width here is a multiple of."""
    for o in range(weight.shape[0]):
        for i in range(0, weight.shape[1], 12):
            for s in range(S):
                total = bias[o] if i == 0 else out[o, s]
                for k in range(12):
                    total += weight[o, i + k] * x[i + k, s]
                out[o, s] = total


@inlined
def _weight_grow(dweight: Any, dout: Any, x: Any) -> None:
    """Add to the gradient of `_linear`'s weight, summed over streams."""
    for o in range(dweight.shape[0]):
        for i in range(dweight.shape[1]):
            total = ZERO
            for s in range(S):
                total += dout[o, s] * x[i, s]
            dweight[o, i] += total


@inlined
def _bias_grow(dbias: Any, dout: Any) -> None:
    """Add to the gradient of `_linear`'s bias, of each stream."""
    for o in range(dbias.shape[0]):
        for s in range(S):
            dbias[o, s] += dout[o, s]


@inlined
def _scale(norm: Any, weight: Any, bias: Any, h: Any) -> None:
    for d in range(D):
        for s in range(S):
            h[d, s] = norm[d, s] * weight[d] + bias[d]


@inlined
def _normalise(x: Any, weight: Any, bias: Any, norm: Any, scale: Any, h: Any, tmp: Any) -> None:
    """LayerNorm (Ba et al. 2016) of x [D, S] into norm, scale and h."""
    mean, square = tmp.a, tmp.b
    for s in range(S):
        mean[s] = ZERO
        square[s] = ZERO
    for d in range(D):
        for s in range(S):
            mean[s] += x[d, s] / WIDTH
    for d in range(D):
        for s in range(S):
            off = x[d, s] - mean[s]
            square[s] += off * off / WIDTH
    for s in range(S):
        scale[s] = ONE / math.sqrt(square[s] + EPSILON)
    for d in range(D):
        for s in range(S):
            norm[d, s] = (x[d, s] - mean[s]) * scale[s]
    _scale(norm, weight, bias, h)


@inlined
def _normalise_back(dx: Any, dh: Any, weight: Any, norm: Any, scale: Any, dweight: Any, dbias: Any, tmp: Any) -> None:
    """Add to dx, dweight and dbias what comes back through LayerNorm from dh [D, S]."""
    mean, along = tmp.a, tmp.b
    for s in range(S):
        mean[s] = ZERO
        along[s] = ZERO
    for d in range(D):
        to_weight, to_bias = ZERO, ZERO
        for s in range(S):
            value = dh[d, s] * norm[d, s]
            to_weight += value
            to_bias += dh[d, s]
            mean[s] += dh[d, s] * weight[d] / WIDTH
            along[s] += value * weight[d] / WIDTH
        dweight[d] += to_weight
        dbias[d] += to_bias
    for d in range(D):
        for s in range(S):
            dx[d, s] += (dh[d, s] * weight[d] - mean[s] - norm[d, s] * along[s]) * scale[s]


@inlined
def _attend(q: Any, k: Any, v: Any, t: int, top: Any, inverse: Any, y: Any, noise: Any, drop: Any, p: Any) -> None:
    """One head with query q [E, S] at position t looks at positions 0 to t and gathers y [E, S].

    Its weights are exp(score - top) inverse, both [S]; the way back computes them again, which is cheaper than to
    keep them. p is room for [T, S].
    """
    for s in range(S):
        top[s] = LOWEST
        inverse[s] = ZERO
        for e in range(E):
            y[e, s] = ZERO
    for j in range(t + 1):
        for s in range(S):
            score = q[0, s] * k[0, j, s] + q[1, s] * k[1, j, s] + q[2, s] * k[2, j, s] + q[3, s] * k[3, j, s]
            score *= ATTENTION_SCALE
            p[j, s] = score
            top[s] = max(top[s], score)
    for j in range(t + 1):
        for s in range(S):
            weight = exp(p[j, s] - top[s])
            inverse[s] += weight
            kept = weight * drop.scale if noise[j, s] >= drop.threshold else ZERO
            y[0, s] += kept * v[0, j, s]
            y[1, s] += kept * v[1, j, s]
            y[2, s] += kept * v[2, j, s]
            y[3, s] += kept * v[3, j, s]
    for s in range(S):
        inverse[s] = ONE / inverse[s]
    for e in range(E):
        for s in range(S):
            y[e, s] *= inverse[s]


@inlined
def _attend_back(
    q: Any, k: Any, v: Any, t: int, top: Any, inverse: Any, dy: Any, noise: Any, drop: Any, dq: Any, dk: Any, dv: Any,
    tmp: Any,
) -> None:  # fmt: skip
    """What comes back through `_attend` from dy [E, S]: dq, and additions to dk and dv of positions 0 to t."""
    along, p, dp = tmp.a, tmp.rows, tmp.more_rows
    for s in range(S):
        along[s] = ZERO
        for e in range(E):
            dq[e, s] = ZERO
    for j in range(t + 1):
        for s in range(S):
            score = q[0, s] * k[0, j, s] + q[1, s] * k[1, j, s] + q[2, s] * k[2, j, s] + q[3, s] * k[3, j, s]
            weight = exp(score * ATTENTION_SCALE - top[s]) * inverse[s]
            keep = drop.scale if noise[j, s] >= drop.threshold else ZERO
            back = dy[0, s] * v[0, j, s] + dy[1, s] * v[1, j, s] + dy[2, s] * v[2, j, s] + dy[3, s] * v[3, j, s]
            back *= keep
            p[j, s] = weight
            dp[j, s] = back
            along[s] += back * weight
            keep *= weight
            dv[0, j, s] += keep * dy[0, s]
            dv[1, j, s] += keep * dy[1, s]
            dv[2, j, s] += keep * dy[2, s]
            dv[3, j, s] += keep * dy[3, s]
    for j in range(t + 1):
        for s in range(S):
            slope = p[j, s] * (dp[j, s] - along[s]) * ATTENTION_SCALE
            dq[0, s] += slope * k[0, j, s]
            dq[1, s] += slope * k[1, j, s]
            dq[2, s] += slope * k[2, j, s]
            dq[3, s] += slope * k[3, j, s]
            dk[0, j, s] += slope * q[0, s]
            dk[1, j, s] += slope * q[1, s]
            dk[2, j, s] += slope * q[2, s]
            dk[3, j, s] += slope * q[3, s]


@inlined
def _gelu(x: Any, out: Any) -> None:
    """out = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3): the tanh form of GELU (Hendrycks and Gimpel 2016)."""
    for i in range(F):
        for s in range(S):
            value = x[i, s]
            out[i, s] = value / (ONE + exp(-SLOPE * (value + CUBIC * value * value * value)))


@inlined
def _gelu_back(x: Any, dout: Any, out: Any, dx: Any) -> None:
    """dx from dout, and out again."""
    for i in range(F):
        for s in range(S):
            value = x[i, s]
            gate = ONE / (ONE + exp(-SLOPE * (value + CUBIC * value * value * value)))
            slope = gate + value * gate * (ONE - gate) * SLOPE * (ONE + THREE * CUBIC * value * value)
            out[i, s] = value * gate
            dx[i, s] = dout[i, s] * slope


@inlined
def _add(x: Any, update: Any, noise: Any, drop: Any) -> None:
    """x += dropout(update)."""
    for d in range(D):
        for s in range(S):
            x[d, s] += update[d, s] * drop.scale if noise[d, s] >= drop.threshold else ZERO


@inlined
def _drop(x: Any, noise: Any, drop: Any, out: Any) -> None:
    """out = dropout(x), which is its own way back."""
    for d in range(D):
        for s in range(S):
            out[d, s] = x[d, s] * drop.scale if noise[d, s] >= drop.threshold else ZERO


@inlined
def _before(w: Any, act: Any, layer: int, t: int, tmp: Any) -> None:
    """The part of a block before attention: query, key and value of position t."""
    weight, bias, norm = w.ln1_weight[layer], w.ln1_bias[layer], act.norm1[layer, t]
    _normalise(act.x[t], weight, bias, norm, act.scale1[layer, t], tmp.h, tmp)
    _linear(tmp.triple, w.qkv_weight[layer], w.qkv_bias[layer], tmp.h)
    for h in range(H):
        for e in range(E):
            for s in range(S):
                act.q[layer, t, h, e, s] = tmp.triple[E * h + e, s]
                act.k[layer, h, e, t, s] = tmp.triple[D + E * h + e, s]
                act.v[layer, h, e, t, s] = tmp.triple[2 * D + E * h + e, s]


@inlined
def _attention(act: Any, noise: Any, drop: Any, layer: int, h: int, t: int, tmp: Any) -> None:
    """One head at position t, for which `_before` has done positions 0 to t."""
    row = t * (t + 1) // 2
    chance, top, inverse = noise.attention[layer, h, row : row + t + 1], act.top[layer, h, t], act.inverse[layer, h, t]
    q, k, v, y = act.q[layer, t, h], act.k[layer, h], act.v[layer, h], act.y[layer, t, h]
    _attend(q, k, v, t, top, inverse, y, chance, drop, tmp.rows)


@inlined
def _after(w: Any, act: Any, noise: Any, drop: Any, layer: int, t: int, tmp: Any) -> None:
    """The part of a block after attention: the projection, and the two layers behind it."""
    _linear(tmp.narrow, w.proj_weight[layer], w.proj_bias[layer], act.y[layer, t].reshape((D, S)))
    _add(act.x[t], tmp.narrow, noise.residual[layer, 0, t], drop)
    weight, bias, norm = w.ln2_weight[layer], w.ln2_bias[layer], act.norm2[layer, t]
    _normalise(act.x[t], weight, bias, norm, act.scale2[layer, t], tmp.h, tmp)
    _linear(act.fc[layer, t], w.fc_weight[layer], w.fc_bias[layer], tmp.h)
    _gelu(act.fc[layer, t], tmp.wide)
    _linear(tmp.narrow, w.out_weight[layer], w.out_bias[layer], tmp.wide)
    _add(act.x[t], tmp.narrow, noise.residual[layer, 1, t], drop)


@inlined
def _after_back(
    w: Any, turned: Any, act: Any, noise: Any, drop: Any, grad: Any, dw: Any, layer: int, t: int, tmp: Any
) -> None:
    """`_after` backwards: grad.x[t] and dw from grad.x[t], and grad.y[t]. `turned`: weights [in, out]."""
    dx, narrow = grad.x[t], tmp.narrow
    _drop(dx, noise.residual[layer, 1, t], drop, narrow)
    _linear(tmp.wide, turned.out_weight[layer], tmp.none, narrow)
    _gelu_back(act.fc[layer, t], tmp.wide, tmp.widest, tmp.wider)
    _weight_grow(dw.out_weight[layer], narrow, tmp.widest)
    _bias_grow(dw.out_bias[layer], narrow)
    _scale(act.norm2[layer, t], w.ln2_weight[layer], w.ln2_bias[layer], tmp.h)
    _weight_grow(dw.fc_weight[layer], tmp.wider, tmp.h)
    _bias_grow(dw.fc_bias[layer], tmp.wider)
    _linear(narrow, turned.fc_weight[layer], tmp.none, tmp.wider)
    weight, dweight, dbias = w.ln2_weight[layer], dw.ln2_weight[layer], dw.ln2_bias[layer]
    _normalise_back(dx, narrow, weight, act.norm2[layer, t], act.scale2[layer, t], dweight, dbias, tmp)
    _drop(dx, noise.residual[layer, 0, t], drop, narrow)
    _weight_grow(dw.proj_weight[layer], narrow, act.y[layer, t].reshape((D, S)))
    _bias_grow(dw.proj_bias[layer], narrow)
    _linear(grad.y[t].reshape((D, S)), turned.proj_weight[layer], tmp.none, narrow)


@inlined
def _attention_back(act: Any, noise: Any, drop: Any, grad: Any, layer: int, h: int, t: int, tmp: Any) -> None:
    """`_attention` backwards; keys and values of all positions are done when all are."""
    row = t * (t + 1) // 2
    chance, top, inverse = noise.attention[layer, h, row : row + t + 1], act.top[layer, h, t], act.inverse[layer, h, t]
    q, k, v = act.q[layer, t, h], act.k[layer, h], act.v[layer, h]
    dy, dq, dk, dv = grad.y[t, h], grad.q[t, h], grad.k[h], grad.v[h]
    _attend_back(q, k, v, t, top, inverse, dy, chance, drop, dq, dk, dv, tmp)


@inlined
def _before_back(w: Any, turned: Any, act: Any, grad: Any, dw: Any, layer: int, t: int, tmp: Any) -> None:
    """`_before` backwards, into grad.x[t] and dw."""
    for h in range(H):
        for e in range(E):
            for s in range(S):
                tmp.triple[E * h + e, s] = grad.q[t, h, e, s]
                tmp.triple[D + E * h + e, s] = grad.k[h, e, t, s]
                tmp.triple[2 * D + E * h + e, s] = grad.v[h, e, t, s]
    _scale(act.norm1[layer, t], w.ln1_weight[layer], w.ln1_bias[layer], tmp.h)
    _weight_grow(dw.qkv_weight[layer], tmp.triple, tmp.h)
    _bias_grow(dw.qkv_bias[layer], tmp.triple)
    _linear(tmp.narrow, turned.qkv_weight[layer], tmp.none, tmp.triple)
    weight, dweight, dbias = w.ln1_weight[layer], dw.ln1_weight[layer], dw.ln1_bias[layer]
    _normalise_back(grad.x[t], tmp.narrow, weight, act.norm1[layer, t], act.scale1[layer, t], dweight, dbias, tmp)


@inlined
def _embed(w: Any, act: Any, tokens: Any, t: int, noise: Any, drop: Any, tmp: Any) -> None:
    for d in range(D):
        for s in range(S):
            tmp.narrow[d, s] = (w.wte[1, d] if tokens[t, s] else w.wte[0, d]) + w.wpe[t, d]
    _drop(tmp.narrow, noise.embedding[t], drop, act.x[t])


@inlined
def _embed_back(dw: Any, grad: Any, tokens: Any, t: int, noise: Any, drop: Any, tmp: Any) -> None:
    _drop(grad.x[t], noise.embedding[t], drop, tmp.narrow)
    for d in range(D):
        total, defect = ZERO, ZERO
        for s in range(S):
            total += tmp.narrow[d, s]
            defect += tmp.narrow[d, s] if tokens[t, s] else ZERO
        dw.wpe[t, d] += total
        dw.wte[0, d] += total - defect
        dw.wte[1, d] += defect


@inlined
def _finish(w: Any, act: Any, t: int, tmp: Any) -> None:
    _normalise(act.x[t], w.lnf_weight, w.lnf_bias, act.normf[t], act.scalef[t], tmp.narrow, tmp)
    for d in range(D):
        for s in range(S):
            act.hidden[d, t, s] = tmp.narrow[d, s]


@compiled
def forward(w: Weights, tokens: Any, noise: Noise, drop: Dropout, act: Activations, tmp: Scratch) -> None:
    """The trunk over whole streams, tokens [T, S] of 0 and 1, into `act`; its result is act.hidden."""
    for t in range(T):
        _embed(w, act, tokens, t, noise, drop, tmp)
    for layer in range(L):
        for t in range(T):
            _before(w, act, layer, t, tmp)
        for h in range(H):
            for t in range(T):
                _attention(act, noise, drop, layer, h, t, tmp)
        for t in range(T):
            _after(w, act, noise, drop, layer, t, tmp)
    for t in range(T):
        _finish(w, act, t, tmp)


@compiled
def generate(
    w: Weights, lm_head: Any, tokens: Any, chance: Any, noise: Noise, drop: Dropout, act: Activations, tmp: Scratch
) -> None:
    """Sample tokens [T, S] after tokens[0], as `chance` [T, S], uniform in [0, 1), decides; lm_head is [2, D]."""
    for t in range(T):
        _embed(w, act, tokens, t, noise, drop, tmp)
        for layer in range(L):
            _before(w, act, layer, t, tmp)
            for h in range(H):
                _attention(act, noise, drop, layer, h, t, tmp)
            _after(w, act, noise, drop, layer, t, tmp)
        _finish(w, act, t, tmp)
        if t + 1 < T:
            for s in range(S):
                gap = ZERO
                for d in range(D):
                    gap += (lm_head[1, d] - lm_head[0, d]) * act.hidden[d, t, s]
                tokens[t + 1, s] = 1 if chance[t, s] * (ONE + exp(-gap)) < ONE else 0


@compiled
def backward(
    w: Weights,
    turned: Weights,
    tokens: Any,
    dhidden: Any,
    noise: Noise,
    drop: Dropout,
    act: Activations,
    grad: Gradients,
    dw: Weights,
    tmp: Scratch,
) -> None:
    """Add to dw the gradients of the last `forward`, given dhidden [D, T, S].

    `turned` has linear weights [in, out]; dw has the gradients of linear biases stream by stream, [L, out, S].
    """
    grad.x[:] = ZERO
    for t in range(T):
        dweight, dbias = dw.lnf_weight, dw.lnf_bias
        for d in range(D):
            for s in range(S):
                tmp.narrow[d, s] = dhidden[d, t, s]
        _normalise_back(grad.x[t], tmp.narrow, w.lnf_weight, act.normf[t], act.scalef[t], dweight, dbias, tmp)
    for layer in range(L - 1, -1, -1):
        grad.k[:] = ZERO
        grad.v[:] = ZERO
        for t in range(T):
            _after_back(w, turned, act, noise, drop, grad, dw, layer, t, tmp)
        for h in range(H):
            for t in range(T):
                _attention_back(act, noise, drop, grad, layer, h, t, tmp)
        for t in range(T):
            _before_back(w, turned, act, grad, dw, layer, t, tmp)
    for t in range(T):
        _embed_back(dw, grad, tokens, t, noise, drop, tmp)
