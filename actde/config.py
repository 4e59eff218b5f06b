"""The settings of learning from a batch: one frozen record, each field with its meaning and its range.

The help text lives in the field's metadata, so that a command line can show it. Rates, epochs, heads and
credit belong to the training loop and are not here. Needs no torch.
"""

from dataclasses import dataclass
from typing import Literal

from actde.errors import OptimizerError
from actde.fields import Record, choice, flag, number


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig(Record):
    """How an optimizer learns from a batch. A bad value or name raises `OptimizerError`.

    `metadata["help"]` of each field says what it does; units: reward for v and q, nats for entropy and KL.
    """

    gamma: float = number(0.99, "discount between turns; inside a command it is 1", high=1)
    lam: float = number(0.95, "lambda: 0 is the one-step error, 1 is Monte Carlo", high=1)
    clip_range: float = number(0.2, "the ratio pi/pi_old earns nothing beyond 1 +- this", above=True)
    value_clip_range: float | None = number(
        0.2, "v moves at most this far per rollout, in reward; none: free", above=True, optional=True
    )
    value_coef: float = number(0.1, "weight of the value loss")
    q_coef: float = number(1.0, "weight of the Q loss")
    entropy_coef: float = number(0.0, "weight of the entropy bonus")
    whitening: Literal["none", "batch"] = choice(
        "none", "batch: centre and scale advantages over the whole batch, all processes", ("none", "batch")
    )
    advantage: Literal["lambda", "return"] = choice(
        "lambda", "lambda: accumulate the errors; return: lambda-return minus baseline", ("lambda", "return")
    )
    value_loss: Literal["ppo", "ilql"] = choice(
        "ppo", "ppo: clipped squares towards the return; ilql: expectile of q (needs q)", ("ppo", "ilql")
    )
    expectile: float = number(0.9, "tau of the ilql value loss", high=1, above=True, below=True)
    kl_coef: float = number(0.0, "weight of the KL to the reference; where it starts if adaptive")
    kl_place: Literal["loss", "reward"] = choice(
        "loss", "loss: exact KL in the loss; reward: its sample taken off each reward", ("loss", "reward")
    )
    kl_target: float | None = number(
        None, "KL in nats per choice that an adaptive kl_coef aims at; none: fixed", above=True, optional=True
    )
    train_q: bool = flag(False, "train q also where the optimizer does not need it, to measure it")

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        if self.kl_target is not None and self.kl_coef == 0:
            raise OptimizerError("kl_target needs a kl_coef above 0 to start from, got kl_coef=0.0")
