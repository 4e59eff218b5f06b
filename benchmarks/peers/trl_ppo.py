"""TRL's PPO trainer, a step for each line on standard input; run by the Python of an environment that has TRL.

    python -m benchmarks.peers.trl_ppo

The first line is the job, a JSON object: model (folder), dtype, threads, queries (lists of token ids), response
(tokens), epochs, micro (samples read at once in the update), steps, lora (rank; 0: none), rate, kl_coef, vf_coef. The
answers are lines of JSON on standard output: first {"libraries": bytes of memory before the model is loaded,
"versions"}, then for each step {"seconds", "update": seconds of the update alone, "peak": bytes}; after the last step
of a job with `inspect` what the step worked on and what it logged. Only TRL's public interface and torch's hooks on its
modules are used. The rest of the project is left out: this file must import in an environment without it.
"""

import json
import os
import sys
import tempfile
import time
from importlib.metadata import version
from typing import Any

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import torch
from datasets import Dataset  # type: ignore[import-not-found,unused-ignore]
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from transformers.models.llama import modeling_llama  # noqa: F401  # as in own_ppo.py
from trl.experimental.ppo import PPOConfig, PPOTrainer  # type: ignore[import-not-found,unused-ignore]

from benchmarks.memory import forget_peak, peak, resident

PACKAGES = ("trl", "transformers", "torch", "peft")


class Turns(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Begins each step when it is told to and reports what it took."""

    def __init__(self, answers: Any, steps: int) -> None:
        self.answers, self.steps = answers, steps
        self.began = self.updating = 0.0

    def wait(self) -> None:
        """Until a line comes; when there are no more, that is the end."""
        if not sys.stdin.readline():
            sys.exit()
        self.began, self.updating = time.perf_counter(), 0.0

    def first_pass(self, *args: Any) -> None:
        """The trainer calls policy and value model together in the update only."""
        self.updating = self.updating or time.perf_counter()

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.wait()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        now = time.perf_counter()
        say(self.answers, seconds=now - self.began, update=now - self.updating, peak=peak())
        if state.global_step < self.steps:
            self.wait()


class Seen:
    """What the value and the reward model said during a rollout, and of which tokens."""

    def __init__(self, trainer: Any) -> None:
        self.found: dict[str, list[Any]] = {}
        backbone = getattr(trainer.value_model, trainer.value_model.base_model_prefix)
        backbone.register_forward_pre_hook(self.tokens, with_kwargs=True)
        trainer.value_model.score.register_forward_hook(lambda *call: self.keep("values", call[2]))
        trainer.reward_model.score.register_forward_hook(lambda *call: self.keep("scores", call[2]))

    def tokens(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        self.keep("tokens", kwargs["input_ids"])

    def keep(self, name: str, tensor: torch.Tensor) -> None:
        if not torch.is_grad_enabled():
            self.found.setdefault(name, tensor.reshape(tensor.shape[0], -1).tolist())


def make_trainer(job: dict[str, Any], folder: str, turns: Turns) -> Any:
    """The trainer with its four models: policy, reference, value and reward."""
    tokenizer = AutoTokenizer.from_pretrained(job["model"], padding_side="left")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token

    def load(kind: Any, **options: Any) -> Any:
        return kind.from_pretrained(job["model"], dtype=getattr(torch, job["dtype"]), **options)

    policy = load(AutoModelForCausalLM)
    torch.manual_seed(1)  # of the heads
    value, reward = (load(AutoModelForSequenceClassification, num_labels=1) for _ in range(2))
    queries, lora = Dataset.from_dict({"input_ids": job["queries"]}), None
    if job["lora"]:
        from peft import LoraConfig

        lora = LoraConfig(r=job["lora"], lora_alpha=2 * job["lora"], target_modules="all-linear", task_type="CAUSAL_LM")
    return PPOTrainer(
        args=_config(job, folder),
        processing_class=tokenizer,
        model=policy,
        ref_model=None,  # a frozen copy, or the adapter switched off
        reward_model=reward,
        value_model=value,
        train_dataset=queries,
        eval_dataset=queries,
        callbacks=[turns],
        peft_config=lora,
    )


def _config(job: dict[str, Any], folder: str) -> Any:
    samples = len(job["queries"])
    return PPOConfig(
        output_dir=folder,
        use_cpu=True,
        bf16=False,  # the models' own numbers, no autocast
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        num_sample_generations=0,
        total_episodes=samples * job["steps"],
        per_device_train_batch_size=job["micro"],
        gradient_accumulation_steps=samples // job["micro"],
        num_mini_batches=1,
        local_rollout_forward_batch_size=samples,
        num_ppo_epochs=job["epochs"],
        response_length=job["response"],
        temperature=1.0,
        learning_rate=job["rate"],
        kl_coef=job["kl_coef"],
        vf_coef=job["vf_coef"],
        gamma=1.0,
        lam=0.95,
        seed=1,
    )


def say(answers: Any, **found: Any) -> None:
    """One line of JSON."""
    answers.write(json.dumps(found) + "\n")
    answers.flush()


def main() -> None:
    job = json.loads(sys.stdin.readline())
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the trainer prints
    torch.set_num_threads(job["threads"])
    say(answers, libraries=resident(), versions={name: version(name) for name in PACKAGES})
    with tempfile.TemporaryDirectory() as folder:
        turns = Turns(answers, job["steps"])
        trainer = make_trainer(job, folder, turns)
        trainer.model.register_forward_pre_hook(turns.first_pass)
        seen = Seen(trainer) if job.get("inspect") else None
        forget_peak()
        trainer.train()
        if seen is not None:
            say(answers, **seen.found, logged=trainer.state.log_history[-1])


if __name__ == "__main__":
    main()
