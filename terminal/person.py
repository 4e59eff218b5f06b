"""Read a person's commands from the terminal or from a pipe."""

from rich.text import Text

from agents.protocol import Turn
from terminal import console
from terminal.playback import LineView, PanelView

HELP = "type the number or the text of a command; ? shows the commands again; Ctrl-D ends the game"
FREE_HELP = "type a text; Ctrl-D ends the game"


def ask(view: PanelView | LineView, turn: Turn) -> str:
    """Show a turn, and return the command that the person chooses by its number or its text.

    After an empty line, a question mark, or a text that is not an admissible command, another line is read. This costs
    no turn. If the game offers no commands, any text other than `?` is a command.
    """
    commands: list[str] = turn.info["admissible_commands"]
    by_text = {command.strip(): command for command in commands}  # commands of one-word games begin with a space
    by_number = {str(number): command for number, command in enumerate(commands, 1)}
    help_text = HELP if commands else FREE_HELP
    console.show([*view.turn(turn), *([Text(help_text)] if turn.first else [])])
    while True:
        answer = console.ask()
        if command := by_text.get(answer, by_number.get(answer)):
            return command
        if answer == "?":
            console.show([*view.commands(commands), Text(help_text)])
        elif answer and not commands:
            return answer
        elif answer:
            console.show([Text(f"no command here: {answer!r}; {help_text}")])
