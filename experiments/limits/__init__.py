"""Measure how closely ACTDE, re-centred ACTDE and MPO approach the policy softmax(log pi_0 + Q^pi / tau).

The policies are tables of logits. pi_0 is the initial policy, Q^pi is the exact Q-function of the trained policy, and
tau is a temperature. Re-centred ACTDE is ACTDE with the setting `recentre_q`.
"""
