"""Measure how closely ACTDE, re-centred ACTDE and MPO approach the policy softmax(log pi_0 + Q^pi / tau)."""
