"""The tasks of the evaluation card, and results of other authors on similar tasks."""

from dataclasses import dataclass

from agents.protocol import AgentError
from games.errors import nearest

VARIANTS = {"told": "with objective", "untold": "without objective"}  # name in results -> name in documents


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task of the card.

    Attributes:
        levels: levels of the games, used in turn.
        settings: other settings of the games, such as "split=test".
        goal: the setting `goal` in the variant "told".
        by_hash: whether to use only games whose hash is in the test split.
        references: results that other authors reported.
    """

    name: str
    title: str
    family: str
    levels: tuple[int, ...]
    settings: str = ""
    goal: str = "detailed"
    max_turns: int = 100
    by_hash: bool = True
    references: tuple[str, ...] = ()

    def game(self, variant: str, level: int, seed: int) -> str:
        """Return the text of a game, such as "textworld:coin?level=5&seed=1". `variant` is a key of `VARIANTS`."""
        goal = self.goal if variant == "told" else "none"
        settings = f"&{self.settings}" if self.settings else ""
        return f"textworld:{self.family}?level={level}&seed={seed}&goal={goal}{settings}"


MEOW = "meow-tea-taro, as reported by its authors"
LMRL = "LMRL-Gym, Abdulhai et al. 2023, table 4; mean reward, 1 for a win"
NOTEBOOK = "TextWorld's own notebook, 20 unseen games"
TASKS = (
    Task(
        name="simple",
        title="`simple`, dense rewards, detailed objective",
        family="simple",
        levels=(1,),
        references=(
            f"a small GRU, A2C: 0.8 of the score in 92.5 of 100 steps ({NOTEBOOK})",
            f"random: 0.5 of the score in 99.6 of 100 steps ({NOTEBOOK})",
        ),
    ),
    Task(name="coin", title="`coin`, levels 5 to 15", family="coin", levels=tuple(range(5, 16))),
    Task(name="treasure", title="`treasure`, levels 1 to 10", family="treasure", levels=tuple(range(1, 11))),
    Task(
        name="cooking",
        title="`cooking`, one ingredient to find, up to 6 rooms, closed doors and containers, test recipes",
        family="cooking",
        levels=(5,),
        settings="split=test",
        goal="brief",
        by_hash=False,
        references=(
            f"a 7B model, PPO: 58% won ({MEOW})",
            "the best of the models up to 8B, zero-shot: 29.7% of the score (TALES)",
        ),
    ),
    Task(
        name="quest-2-3-4",
        title="`quest`, 2 rooms, 3 objects, 4 steps",
        family="quest",
        levels=(3,),
        max_turns=50,
        references=(f"Qwen2.5-1.5B, PPO, 8 GPUs: 97% won ({MEOW})",),
    ),
    Task(
        name="quest-4-6-8",
        title="`quest`, 4 rooms, 6 objects, 8 steps",
        family="quest",
        levels=(6,),
        max_turns=50,
        references=(f"Qwen2.5-1.5B, PPO, 8 GPUs: 94% won ({MEOW})",),
    ),
    Task(
        name="textnav-full",
        title="`textnav`, the single house of the task, fully observed",
        family="textnav",
        levels=(1,),
        goal="brief",
        max_turns=50,
        by_hash=False,
        references=(
            f"GPT-2 small, ILQL: 0.88 ({LMRL})",
            f"GPT-2 small, PPO: 0.81 ({LMRL})",
            f"GPT-4, prompted: 0.52 ({LMRL})",
        ),
    ),
    Task(
        name="textnav-part",
        title="`textnav`, the single house of the task, partly observed",
        family="textnav",
        levels=(1,),
        settings="observed=part",
        goal="brief",
        max_turns=50,
        by_hash=False,
        references=(
            f"GPT-2 small, PPO: 0.80 ({LMRL})",
            f"GPT-2 small, ILQL: 0.76 ({LMRL})",
            f"GPT-4, prompted: 0.21 ({LMRL})",
        ),
    ),
    Task(
        name="textnav-drawn",
        title="`textnav`, random houses, fully observed",
        family="textnav",
        levels=(2,),
        goal="brief",
        max_turns=50,
    ),
)


def select_tasks(names: str | None) -> tuple[Task, ...]:
    """Return the tasks in the comma-separated `names`, or all tasks if `names` is None.

    Raises:
        AgentError: a name is unknown.
    """
    if names is None:
        return TASKS
    known_names, requested = [task.name for task in TASKS], [name.strip() for name in names.split(",")]
    for name in requested:
        if name not in known_names:
            raise AgentError(f"the card has no task {name!r}; {nearest(name, known_names)}")
    return tuple(task for task in TASKS if task.name in requested)
