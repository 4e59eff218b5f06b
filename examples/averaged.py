"""An optimizer.

python cli.py train --game bandit --optimizer examples/averaged.py:Averaged --out runs/averaged  # 1 min
"""

from actde import PPO


class Averaged(PPO):
    """PPO whose baseline is the mean of v and q."""

    name = "averaged"
    needs_q = True

    def baseline(self, batch):
        return (batch.values + batch.q_values) / 2
