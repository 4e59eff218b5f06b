"""Experiments that compare PPO with ACTDE in text generation. ACTDE's baseline is q(s, a)."""
