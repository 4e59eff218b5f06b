"""Run TRL's GRPO trainer on a text game: one rollout and one gradient step for each line on standard input.

    python -m benchmarks.peers.trl_games

The Python of an environment with TRL runs this file. Besides TRL it needs only `games`. The first line of input is the
job, a JSON object: model (folder), dtype, threads, clock (name of a function in `time`), lora (rank), game, max_turns,
episodes (per rollout; they form one group), rounds, calls, and tokens. If `calls` is "random", random tool calls
replace the model's `generate`. If it is "own", the model generates at most `tokens` tokens per episode.

The answers are lines of JSON on standard output, as in `benchmarks.peers.trl_grpo`. The last line contains means over
rollouts: {"calls": tool calls per episode, "failures": share of the calls that failed, "tokens": tokens of all
episodes, "written": tokens that the model wrote}.
"""

import tempfile
import time
from functools import partial
from typing import Any

import torch
from datasets import Dataset  # type: ignore[import-not-found,unused-ignore]
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer  # type: ignore[import-not-found,unused-ignore]
from trl.chat_template_utils import qwen3_chat_template  # type: ignore[import-not-found,unused-ignore]

from benchmarks.memory import reset_peak
from benchmarks.peers.trl_steps import GRPO, StepTimer, adapter, send, start
from benchmarks.trl_environment import Caller
from games.serving.trl import ToolEnvironment

ANY_LENGTH = 8192


def make_trainer(job: dict[str, Any], folder: str, timer: StepTimer) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(job["model"], padding_side="left")
    tokenizer.chat_template = qwen3_chat_template
    tokenizer.eos_token, tokenizer.pad_token = "<|im_end|>", "<|endoftext|>"
    row = {"prompt": [{"role": "user", "content": "Win the game.\n\n"}], "seed": 0}
    config = GRPOConfig(
        output_dir=folder,
        bf16=False,
        logging_steps=1,
        max_steps=job["rounds"],
        per_device_train_batch_size=1,
        gradient_accumulation_steps=job["episodes"],
        steps_per_generation=job["episodes"],
        num_generations=job["episodes"],
        max_tool_calling_iterations=job["max_turns"],
        learning_rate=0.0,
        max_completion_length=job["tokens"] if job["calls"] == "own" else ANY_LENGTH,
        **GRPO,
    )
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(job["model"], dtype=getattr(torch, job["dtype"])),
        args=config,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list([row] * 4),
        callbacks=[timer],
        environment_factory=partial(ToolEnvironment, job["game"], max_turns=job["max_turns"]),
        peft_config=adapter(job["lora"]),
    )
    trainer.model.register_forward_pre_hook(timer.first_pass)
    if job["calls"] == "random":
        trainer.model.generate = Caller(tokenizer)
    return trainer


def main() -> None:
    job, answers = start()
    with tempfile.TemporaryDirectory() as folder:
        timer = StepTimer(answers, job["rounds"], clock=getattr(time, job["clock"]))
        trainer = make_trainer(job, folder, timer)
        reset_peak()
        trainer.train()
        logs = [row for row in trainer.state.log_history if "loss" in row]
        mean = {name: sum(row[name] for row in logs) / len(logs) for name in logs[0] if name != "step"}
        send(
            answers,
            calls=mean["tools/call_frequency"],
            failures=mean["tools/failure_frequency"],
            tokens=logs[-1]["num_tokens"] / len(logs),
            written=job["episodes"] * mean["completions/mean_length"],
        )


if __name__ == "__main__":
    main()
