"""Show live and recorded episodes as panels or as plain lines."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from rich.console import RenderableType
from rich.text import Text

from agents.play.episode import Episode, wins
from agents.play.live_episode import StepEvent
from agents.play.runner import EpisodeRunner
from agents.play.transcript import Entry
from agents.protocol import Agent, Decision, Turn
from terminal import console, display
from terminal.texts import one_line, printable

Renderables: TypeAlias = list[RenderableType]
HELP = "type the number or the text of a command; ? shows the commands again; Ctrl-D ends the game"
FREE_HELP = "type a text; Ctrl-D ends the game"


class PanelView:
    """A view for terminals: episodes as panels and bars."""

    def __init__(self, agent: str, *, human: bool) -> None:
        self.agent, self.human = agent, human
        self._turns = 0

    def turn(self, turn: Turn) -> Renderables:
        self._turns = 1 if turn.first else self._turns + 1
        heading = display.heading(agent=self.agent, game=turn.game, episode=turn.episode)
        score = turn.info.get("score")
        points = display.points(score, turn.info.get("max_score")) if isinstance(score, int | float) else ""
        return [
            *([heading] if turn.first else []),
            display.observation_panel(turn.observation, turn=self._turns, score=points),
            *(self.commands(turn.info["admissible_commands"]) if self.human else []),
        ]

    def commands(self, commands: Sequence[str]) -> Renderables:
        return [display.command_columns(commands)] if commands else []

    def step(self, event: StepEvent) -> Renderables:
        before = [] if self.human else [*self.turn(event.turn), display.policy_table(event.decision)]
        score = display.points(event.score, event.info.get("max_score"))
        command = None if self.human else event.decision.command
        return [*before, display.outcome_line(command, reward=event.reward, score=score)]

    def episode(self, episode: Episode) -> Renderables:
        return [display.end_panel(episode)]

    def end(self, episodes: Sequence[Episode]) -> Renderables:
        return [display.episode_table(episodes)] if len(episodes) > 1 else []


class LineView:
    """A view for files and pipes: episodes with one line per turn."""

    def __init__(self, agent: str, *, human: bool) -> None:
        self.agent, self.human = agent, human
        self._turns = 0

    def turn(self, turn: Turn) -> Renderables:
        text = display.tidy(turn.observation)
        return [*self._heading(turn), text, *self.commands(turn.info["admissible_commands"])]

    def _heading(self, turn: Turn) -> Renderables:
        heading = f"{one_line(self.agent)} plays {display.game_name(turn.game)}, episode {turn.episode}"
        return [heading] if turn.first else []

    def commands(self, commands: Sequence[str]) -> Renderables:
        return [f"{number:3d} {printable(name.strip())}" for number, name in enumerate(commands, 1)]

    def step(self, event: StepEvent) -> Renderables:
        self._turns = 1 if event.turn.first else self._turns + 1
        score = display.points(event.score, event.info.get("max_score"))
        heading = [] if self.human else self._heading(event.turn)
        return [*heading, *_turn_lines(event.decision, turn=self._turns, reward=event.reward, score=score)]

    def episode(self, episode: Episode) -> Renderables:
        return [f"episode {episode.index}, {display.game_name(episode.game)}: {display.summary(episode)}"]

    def end(self, episodes: Sequence[Episode]) -> Renderables:
        won = wins(episodes)
        return [f"{sum(won)} of {len(won)} episodes won"] if len(episodes) > 1 and won else []


def ask(view: PanelView | LineView, turn: Turn) -> str:
    """Show a turn, and return the command that the user types or chooses by number."""
    commands: list[str] = turn.info["admissible_commands"]
    names = {str(number): command for number, command in enumerate(commands, 1)}
    names |= {command.strip(): command for command in commands}  # commands of one-word games begin with a space
    help_text = HELP if commands else FREE_HELP
    console.show([*view.turn(turn), *([Text(help_text)] if turn.first else [])])
    while True:
        answer = input(" > ").strip()
        if command := names.get(answer):
            return command
        if answer == "?":
            console.show([*view.commands(commands), Text(help_text)])
        elif answer and not commands:
            return answer
        elif answer:
            console.show([Text(f"no command here: {answer!r}; {help_text}")])


def play(
    runner: EpisodeRunner,
    agent: Agent,
    episodes: int,
    view: PanelView | LineView | None,
    *,
    pause: float,
    record: Callable[[Episode], None] | None = None,
) -> tuple[list[Episode], int]:
    """Play, show and record episodes. Return a tuple (finished episodes, exit status)."""
    finished: list[Episode] = []
    status = None
    with runner:
        try:
            on_step = None if view is None else lambda event: console.show(view.step(event), pause)
            for episode in runner.play(agent, episodes, on_step):
                finished.append(episode)
                if record:
                    record(episode)
                console.show(view.episode(episode) if view else [])
        except EOFError:
            status = 0
        except KeyboardInterrupt:
            status = 130
    if view:
        if status is not None:
            console.out.print("\nstopped", style="dim")
        console.show(view.end(finished))
    if runner.failures.count:
        console.note(runner.failures.summary)
    note_unknown_words(agent)
    return finished, int(runner.failures.count > 0) if status is None else status


def note_unknown_words(agent: Agent) -> None:
    tokenizer = getattr(agent, "stream_tokenizer", None)
    if tokenizer is not None and tokenizer.unknown_words:
        words = ", ".join(sorted(tokenizer.unknown_words)[:3])
        console.note(f"the agent does not know some words of the game, such as {words}, and reads them all alike")


def episode_lines(entry: Entry, *, run: str = "") -> list[str]:
    """Return a recorded episode of the run named `run` as plain lines."""
    episode = entry.episode
    title = ", ".join(filter(None, (run, entry.location, display.game_name(episode.game))))
    lines = [f"{title}: {display.summary(episode)}"]
    for number, step in enumerate(episode.steps, 1):
        lines += _text_lines(step.observation)
        score = display.points(step.score, episode.max_score)
        lines += _turn_lines(step.decision, turn=number, reward=step.reward, score=score, advantage=step.advantage)
    return [*lines, *_text_lines(episode.final_observation), ""]


def _text_lines(text: str) -> list[str]:
    return [line for line in display.tidy(text).split("\n") if line.strip()]


def _turn_lines(
    decision: Decision, *, turn: int, reward: float, score: str, advantage: float | None = None
) -> list[str]:
    command = decision.command
    outputs = {"p": decision.probabilities.get(command), "v": decision.value, "q": decision.q_values.get(command)}
    parts = [f"{turn:4d}  {printable(command)}"]
    parts += [f"{name} {value:z.3f}" for name, value in outputs.items() if value is not None]
    parts += [f"reward {display.number(reward)}", score]
    if advantage is not None:
        parts.append(f"advantage {advantage:+z.3f}")
    tokens = [
        f"      {display.token_text(t):24}  p {t.probability:z.3f}  v {t.value:+z.3f}"
        + ("" if t.q_value is None else f"  q {t.q_value:+z.3f}")
        for t in decision.tokens
    ]
    return ["  ".join(parts), *tokens]
