"""Run TRL's GRPO trainer: one rollout and all gradient steps on it for each line on standard input.

    python -m benchmarks.peers.trl_grpo

The Python of an environment with TRL runs this file. Besides TRL it needs only `games`, which computes the reward.

The first line of input is the job, a JSON object: model (folder), dtype, autocast, threads, prompts (texts), reward (as
in the completion game), group (completions per prompt), tokens (of a completion), epochs, minibatches (gradient steps
per epoch), micro (completions per micro-batch), rounds, lora (rank; 0: none), rate.

The answers are lines of JSON. The first is {"libraries": bytes of memory before the model is loaded, "versions"}. For
each round, there is a line {"seconds", "update": seconds of the gradient steps alone, "peak": bytes}. The last is
{"written": mean number of tokens per rollout}.
"""

import tempfile
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset  # type: ignore[import-not-found,unused-ignore]
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer  # type: ignore[import-not-found,unused-ignore]

from benchmarks.memory import reset_peak
from benchmarks.peers.trl_steps import GRPO, StepTimer, adapter, send, start
from games.completion.rewards import resolve_reward


class Reward:
    """The reward function of a job. It counts the tokens of all completions."""

    __name__ = "reward"  # TRL uses it as the name of a metric

    def __init__(self, reward: str) -> None:
        self.score = resolve_reward(reward)
        self.tokens = self.rollouts = 0

    def __call__(
        self, prompts: list[str], completions: list[str], completion_ids: Sequence[Sequence[int]], **_: Any
    ) -> list[float]:
        self.rollouts += 1
        self.tokens += sum(map(len, completion_ids))
        return list(self.score(prompts, completions))


def make_trainer(job: dict[str, Any], folder: str, timer: StepTimer, reward: Reward) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(job["model"], padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    completions = len(job["prompts"]) * job["group"]
    config = GRPOConfig(
        output_dir=folder,
        bf16=job["autocast"],
        logging_strategy="no",
        max_steps=job["rounds"] * job["epochs"] * job["minibatches"],
        per_device_train_batch_size=job["micro"],
        gradient_accumulation_steps=completions // job["minibatches"] // job["micro"],
        steps_per_generation=completions // job["micro"],
        num_iterations=job["epochs"],
        num_generations=job["group"],
        max_completion_length=job["tokens"],
        epsilon=0.2,
        scale_rewards="group",
        shuffle_dataset=False,
        learning_rate=job["rate"],
        adam_beta2=0.95,
        **GRPO,
    )
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(job["model"], dtype=getattr(torch, job["dtype"])),
        reward_funcs=reward,
        args=config,
        processing_class=tokenizer,
        callbacks=[timer],
        train_dataset=Dataset.from_dict({"prompt": job["prompts"]}),
        peft_config=adapter(job["lora"]),
    )
    trainer.model.register_forward_pre_hook(timer.first_pass)
    return trainer


def main() -> None:
    job, answers = start()
    with tempfile.TemporaryDirectory() as folder:
        reward = Reward(job["reward"])
        timer = StepTimer(answers, job["rounds"], per_round=job["epochs"] * job["minibatches"])
        trainer = make_trainer(job, folder, timer, reward)
        reset_peak()
        trainer.train()
        send(answers, written=reward.tokens / reward.rollouts)


if __name__ == "__main__":
    main()
