"""Measure how close learners get to the policy softmax(log pi_0 + Q^pi / tau)."""
