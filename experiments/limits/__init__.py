"""Where ACTDE, re-centred ACTDE and MPO end, on tables: the distance to softmax(log pi_0 + Q^pi / tau)."""
