"""Checks that a run's settings fit the optimizer."""

from actde import Optimizer
from actde.config import option
from actde.errors import ConfigError
from agents.config import RewardConfig, TrainConfig
from agents.protocol import AgentError


def check_optimizer(optimizer: Optimizer, config: TrainConfig) -> None:
    """Raise `ConfigError` or `AgentError` if the settings do not fit the optimizer."""
    _check_model(optimizer, config)
    _check_play(optimizer, config)
    if optimizer.labels == "return":
        _check_returns(config)
    if config.rollout.guide_beta:
        _check_guidance(optimizer, config)
    expert_plays_all = optimizer.labels == "expert" and not config.imitation.model_plays
    if (config.budget.promote or config.budget.stop_success) and (expert_plays_all or not config.rollout.own_episodes):
        reason, advice = "the expert plays every turn", "--beta below 1"
        if not config.rollout.own_episodes:
            reason, advice = "the model does not play", "--data-share below 1"
        raise AgentError(f"--promote and --stop-success count the model's wins, but {reason}; give {advice}")


def _reject_if(condition: object, message: str) -> None:
    if condition:
        raise ConfigError(message)


def _check_model(optimizer: Optimizer, config: TrainConfig) -> None:
    name, group_size, episodes = config.run.optimizer, config.rollout.group_size, config.rollout.episodes
    no_q = optimizer.trains_q and not config.model.q_heads
    _reject_if(no_q, f"{name} trains q: expected --q-heads 1 or 2, got 0")
    _reject_if(
        config.run.reset_q and not optimizer.trains_q,
        f"--reset-q needs q: leave it out, or give --train-q, because {name} trains none",
    )
    _reject_if(
        optimizer.needs_groups and (group_size < 2 or episodes % group_size),
        f"{name} compares the episodes of a group: expected a --group-size above 1 that divides --episodes {episodes}, "
        f"got {group_size} (the preset, if you did not choose it)",
    )
    sums_actions = optimizer.needs_expected_q or optimizer.needs_q_logprobs or config.optimizer.recentre_q
    per_command = config.rollout.credit != "token"
    _reject_if(sums_actions and per_command, f"{name} needs credit per token: expected --credit token, got command")


def _check_play(optimizer: Optimizer, config: TrainConfig) -> None:
    name, rollout, on_policy = config.run.optimizer, config.rollout, not optimizer.learns_off_policy
    _reject_if(
        rollout.data and on_policy,
        f"{name} learns from its own play only: leave out --data, or use imitation, for example",
    )
    _reject_if(
        rollout.random_share and (on_policy or rollout.mode == "free"),
        "--random-share plays admissible commands that the policy did not choose: expected --mode trie and an "
        f"optimizer that learns off policy, such as rejection, got {name}",
    )
    _reject_if(
        rollout.buffer_episodes and on_policy,
        "--buffer-episodes trains on play of earlier policies: expected an optimizer that learns off policy, such "
        f"as rejection-transition, got {name}",
    )
    _reject_if(
        rollout.buffer_keep == "latest" and not rollout.buffer_episodes,
        "--buffer-keep latest needs a replay buffer: give --buffer-episodes",
    )
    _reject_if(
        rollout.buffer_episodes and not rollout.own_episodes,
        "--buffer-episodes keeps own play, but the model does not play: give --data-share below 1",
    )


def _check_returns(config: TrainConfig) -> None:
    rollout, name = config.rollout, config.run.optimizer
    # each reward lowers the target return during play, and evaluations have no shaping
    unshaped = RewardConfig(bonus_command=config.reward.bonus_command)
    for setting, value in config.reward:
        shapes = value != getattr(unshaped, setting)
        _reject_if(shapes, f"{name} states returns of the game's own rewards: leave out {option(setting)}")
    has_no_target = rollout.wanted_return is None and not rollout.data
    _reject_if(has_no_target, f"{name} plays for a wanted return: give --wanted-return X or --data")
    _reject_if(
        rollout.mode == "free" and rollout.own_episodes,
        f"{name} writes its own play again, which needs --mode trie; with --mode free give --data and leave "
        "--data-share at 1",
    )


def _check_guidance(optimizer: Optimizer, config: TrainConfig) -> None:
    name, update, credit = config.run.optimizer, config.update, config.rollout.credit
    _reject_if(not optimizer.trains_q, f"--guide-beta needs q: give --train-q, because {name} trains none")
    _reject_if(credit != "token", f"--guide-beta needs q of every token: expected --credit token, got {credit}")
    _reject_if(
        update.lr > 0 and not optimizer.learns_off_policy,
        f"--guide-beta plays another policy than {name} trains: expected --lr 0, which freezes the policy, or an "
        "optimizer that learns off policy, such as ilql",
    )
    _reject_if(
        update.lr == 0 and (not update.q_lr or update.value_lr is None),
        "--lr 0 with --guide-beta trains v and q alone: give --q-lr above 0 and --value-lr, which would also be 0",
    )
