"""How far tabular policies of ACTDE, re-centred ACTDE and MPO end from softmax(log pi_0 + Q^pi / tau)."""
