"""Start TextWorld 1.7.0's environment for a `.tw-pddl` game without executing code from the file."""

import ast
import contextlib
import copy
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import lru_cache
from multiprocessing.connection import Pipe
from types import SimpleNamespace
from typing import Any

from games.errors import GameError
from games.textworld.pddl_file import PddlGame
from games.textworld.upstream import patches_enabled

MAX_NAME = 1_023  # the maximum length of a name in the planner's interface, in bytes
# the attributes of TextWorld's `EntityInfo` that an expression may read; they are texts or None
ATTRIBUTES = frozenset(("id", "type", "name", "noun", "adj", "desc", "definite", "indefinite"))
# the last lines of the dummy game that the planner's interface returns if no commands can reach the goal
UNREACHABLE = "Atom dummy(val2)\nend_variable\n0\nbegin_state\n0\nend_state\nbegin_goal\n1\n0 1\nend_goal\n0\n0\n"
EXPECTED = "expected names, attributes such as o.name, texts, +, and, or"


def start(game: PddlGame) -> Any:
    """Return TextWorld's environment for `game`, with things named as in ALFWorld."""
    import textworld
    from textworld.envs.pddl import PddlEnv

    _patch()
    env = PddlEnv(textworld.EnvInfos(admissible_commands=True))
    env.load(asdict(game))
    for name, display_name in display_names(env._entity_infos).items():
        env._entity_infos[name].name = display_name
    return env


def game_text(env: Any, symbol: str) -> str:
    """Return the game's text for a grammar symbol such as `task`, or an empty string if missing."""
    grammar = env._logic.grammar
    if symbol not in grammar._rules:
        return ""
    state = env._pddl_state
    context = {
        "state": state, "facts": list(state.facts), "variables": {}, "mapping": {}, "entity_infos": env._entity_infos
    }  # fmt: skip
    return str(grammar.derive(f"#{symbol}#", context))


def plan(env: Any, seconds: int) -> tuple[str, ...]:
    """Return commands that win from the current state, or () if the planner finds none within `seconds`."""
    receiver, sender = Pipe(duplex=False)
    if (child := os.fork()) == 0:  # only a signal can interrupt the search
        try:
            signal.alarm(seconds)
            sender.send_bytes(json.dumps(env._pddl_state.replan(env._entity_infos)).encode())
        finally:
            os._exit(0)
    commands = []
    try:
        sender.close()
        with receiver, contextlib.suppress(EOFError):
            commands = json.loads(receiver.recv_bytes())
    finally:  # also after an interruption
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return tuple(commands)


def file_errors() -> tuple[type[BaseException], ...]:
    """Return the exceptions that TextWorld and the planner raise for malformed games."""
    from fast_downward.translate.pddl_parser.lisp_parser import ParseError
    from tatsu.exceptions import ParseException
    from textworld.envs.pddl.textgen import CSGUnknownSymbolError

    data_errors = (LookupError, TypeError, ValueError, AttributeError, AssertionError, ArithmeticError, NameError)
    other_errors = (RuntimeError, StopIteration, MemoryError, SyntaxError, SystemExit)
    return (*data_errors, *other_errors, ParseError, ParseException, CSGUnknownSymbolError)


def display_names(ids: Iterable[str]) -> dict[str, str]:
    """Return a dict: id -> name in ALFWorld. For example, `mug_bar_3_bar_4` -> `mug 1`."""
    names, counts = {}, Counter[str]()
    # ALFWorld numbers the things of a kind in reverse alphabetical order
    for thing_id in sorted((thing_id for thing_id in ids if "_bar_" in thing_id), reverse=True):
        kind = thing_id.split("_bar_")[0] + ("basin" if "basin" in thing_id else "")
        counts[kind] += 1
        names[thing_id] = f"{kind} {counts[kind]}"
    return names


def evaluate(expression: str, variables: Mapping[str, Any]) -> Any:
    """Evaluate an expression without `eval`.

    Raise SyntaxError unless the expression consists of names, attributes, strings, `+`, `and` and `or`.
    """
    return _evaluate_node(ast.parse(expression.strip(), mode="eval").body, expression, variables)


def _evaluate_node(node: ast.expr, expression: str, variables: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name):
            return variables[name]
        case ast.Attribute(value=ast.Name(id=name), attr=attribute) if attribute in ATTRIBUTES:
            return getattr(variables[name], attribute)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _evaluate_node(left, expression, variables) + _evaluate_node(right, expression, variables)
        case ast.BoolOp(op=operator, values=nodes):
            values = [_evaluate_node(operand, expression, variables) for operand in nodes]
            decisive = isinstance(operator, ast.Or)
            return next((value for value in values if bool(value) == decisive), values[-1])
    # not a ValueError, which TextWorld would take for an inadmissible command
    raise SyntaxError(f"the expression {expression[:80]!r} in a text: {EXPECTED}")


@lru_cache(maxsize=1)
def _patch() -> None:
    import fast_downward
    from textworld import logic
    from textworld.envs.pddl import textgen

    sys.argv = ["translate", "domain", "task"]  # the planner's translator parses the command line as it is imported
    fast_downward.interface.shutil = SimpleNamespace(copyfile=os.symlink)  # the library has 34 MB

    def derive(self: Any, context: Any = None) -> list[Any]:
        return [textgen.TerminalSymbol(evaluate(self.expression, (context or self.context)["variables"]))]

    textgen.EvalSymbol.derive = derive  # the original calls `eval`, so that a game file can run any code
    fast_downward.pddl2sas = _checked_translation(fast_downward.pddl2sas)
    if patches_enabled():
        parse = lru_cache(maxsize=4096)(textgen._parse_and_convert)
        textgen._parse_and_convert = lambda text, **options: copy.deepcopy(parse(text, **options))
        textgen.copy_context = lambda context: {  # shares the things, which no rule of the grammar changes
            **context, "variables": dict(context["variables"]), "mapping": dict(context["mapping"])
        }  # fmt: skip
        logic.Rule.parse_conjunctive_query = lru_cache(maxsize=4096)(logic.Rule.parse_conjunctive_query)
        fast_downward.pddl2sas = lru_cache(maxsize=2)(fast_downward.pddl2sas)  # two forms of one game


def _checked_translation(translate: Any) -> Any:
    def translate_and_check(
        domain: str, problem: str, verbose: bool = False, optimize: bool = False
    ) -> tuple[Any, str]:
        task, text = translate(domain, problem, verbose=verbose, optimize=optimize)
        if (longest := max(map(len, text.encode().split(b"\n")))) > MAX_NAME:
            raise GameError(f"expected names of at most {MAX_NAME} bytes, got {longest}")
        if text.endswith(UNREACHABLE) and not optimize:  # the optimized form is for the search alone
            raise GameError("no commands reach the goal of the problem")
        return task, text

    return translate_and_check
