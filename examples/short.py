"""A reward.

python cli.py train --game "completion?reward=examples/short.py:short" --out runs/short  # about 11 to 47 min
"""


def short(prompts: list[str], completions: list[str]) -> list[float]:
    return [1 / (1 + len(text.split())) for text in completions]
