"""Checks that the settings of a run fit its optimizer."""

from actde import Optimizer
from actde.config import option
from actde.errors import ConfigError
from agents.config import RewardConfig, TrainConfig
from agents.protocol import AgentError


def check_optimizer(optimizer: Optimizer, config: TrainConfig) -> None:
    """Check that the settings of a run fit its optimizer.

    Raises:
        ConfigError: a setting that the optimizer needs is missing, or the optimizer cannot work with a given setting.
        AgentError: a setting needs the model to play, but the model does not play.
    """
    if optimizer.trains_q and not config.model.q_heads:
        raise ConfigError(f"{config.run.optimizer} trains q: expected --q-heads 1 or 2, got 0")
    if config.run.reset_q and not optimizer.trains_q:
        raise ConfigError(
            f"--reset-q needs q: leave it out, or give --train-q, because {config.run.optimizer} trains none"
        )
    group_size, episodes = config.rollout.group_size, config.rollout.episodes
    if optimizer.needs_groups and (group_size < 2 or episodes % group_size):
        raise ConfigError(
            f"{config.run.optimizer} compares the episodes of a group: expected a --group-size above 1 that divides "
            f"--episodes {episodes}, got {group_size} (the preset, if you did not choose it)"
        )
    sums_actions = optimizer.needs_expected_q or optimizer.needs_q_logprobs or config.optimizer.recentre_q
    if sums_actions and config.rollout.credit != "token":
        raise ConfigError(f"{config.run.optimizer} needs credit per token: expected --credit token, got command")
    if config.rollout.data and not optimizer.learns_off_policy:
        raise ConfigError(
            f"{config.run.optimizer} learns from its own play only: leave out --data, or use imitation, for example"
        )
    if config.rollout.random_share and (not optimizer.learns_off_policy or config.rollout.mode == "free"):
        raise ConfigError(
            "--random-share plays admissible commands that the policy did not choose: expected --mode trie and an "
            f"optimizer that learns off policy, such as rejection, got {config.run.optimizer}"
        )
    _check_buffer(optimizer, config)
    if optimizer.labels == "return":
        _check_returns(config)
    _check_guidance(optimizer, config)
    expert_plays_all = optimizer.labels == "expert" and not config.imitation.model_plays
    if (config.budget.promote or config.budget.stop_success) and (expert_plays_all or not config.rollout.own_episodes):
        who, advice = "the expert plays every turn", "--beta below 1"
        if not config.rollout.own_episodes:
            who, advice = "the model does not play", "--data-share below 1"
        raise AgentError(f"--promote and --stop-success count the model's wins, but {who}; give {advice}")


def _check_buffer(optimizer: Optimizer, config: TrainConfig) -> None:
    """Raise `ConfigError` if there is a replay buffer that the optimizer cannot use, or that would stay empty."""
    if config.rollout.buffer_episodes and not optimizer.learns_off_policy:
        raise ConfigError(
            "--buffer-episodes trains on play of earlier policies: expected an optimizer that learns off policy, such "
            f"as rejection-transition, got {config.run.optimizer}"
        )
    if config.rollout.buffer_keep == "latest" and not config.rollout.buffer_episodes:
        raise ConfigError("--buffer-keep latest needs a replay buffer: give --buffer-episodes")
    if config.rollout.buffer_episodes and not config.rollout.own_episodes:
        raise ConfigError("--buffer-episodes keeps own play, but the model does not play: give --data-share below 1")


def _check_returns(config: TrainConfig) -> None:
    """Check the settings for an optimizer whose prompts state returns (`agents.training.hindsight`).

    Raise `ConfigError` in three cases: no wanted return is known; the model plays in the mode `free`, in which its
    token streams cannot be written again with the obtained returns; or rewards are shaped. The last case is an error
    because the agent subtracts the rewards that it received from the wanted return. With shaping, these rewards would
    differ from those of evaluations, which have no shaping.
    """
    rollout, name = config.rollout, config.run.optimizer
    shaping = RewardConfig(bonus_command=config.reward.bonus_command)
    if changed := [option(setting) for setting, value in config.reward if value != getattr(shaping, setting)]:
        raise ConfigError(f"{name} states returns of the game's own rewards: leave out {changed[0]}")
    if rollout.wanted_return is None and not rollout.data:
        raise ConfigError(f"{name} plays for a wanted return: give --wanted-return X or --data")
    if rollout.mode == "free" and rollout.own_episodes:
        raise ConfigError(
            f"{name} writes its own play again, which needs --mode trie; with --mode free give --data and leave "
            "--data-share at 1"
        )


def _check_guidance(optimizer: Optimizer, config: TrainConfig) -> None:
    """Raise `ConfigError` if `--guide-beta` is set, but other settings or the optimizer do not allow this."""
    if not config.rollout.guide_beta:
        return
    name = config.run.optimizer
    if not optimizer.trains_q:
        raise ConfigError(f"--guide-beta needs q: give --train-q, because {name} trains none")
    if config.rollout.credit != "token":
        raise ConfigError(f"--guide-beta needs q of every token: expected --credit token, got {config.rollout.credit}")
    if config.update.lr > 0 and not optimizer.learns_off_policy:
        raise ConfigError(
            f"--guide-beta plays another policy than {name} trains: expected --lr 0, which freezes the policy, or an "
            "optimizer that learns off policy, such as ilql"
        )
    if config.update.lr == 0 and (not config.update.q_lr or config.update.value_lr is None):
        raise ConfigError(
            "--lr 0 with --guide-beta trains v and q alone: give --q-lr above 0 and --value-lr, which would also be 0"
        )
