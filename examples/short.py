def short(prompts: list[str], completions: list[str]) -> list[float]:
    return [1 / (1 + len(text.split())) for text in completions]
