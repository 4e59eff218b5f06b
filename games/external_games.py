"""Open games: Gymnasium environments from outside this project. Their GAME strings take these forms:

    mine/Guess-v0                   an id that is registered with Gymnasium
    package.module:mine/Guess-v0    an id that the module registers
    package.module:Guess            a class, or a function that returns an environment
    path/file.py:Guess              a class or function in a file
    path/package:Guess              a class or function in path/package/__init__.py
    guess                           a name in the entry-point group `actde.games`

Settings after `?` are arguments of the constructor.
"""

import ast
import inspect
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Union, cast, get_args, get_origin

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator

from games.code_import import CODE, canonical, code_errors, import_code, import_name
from games.errors import GameError
from games.external_env import ExternalEnv
from games.parameters import Kind, Parameter, Value
from games.untrusted_files import read_bytes

GROUP = "actde.games"
VERSION = re.compile(r"-v[0-9]+$")  # the end of a Gymnasium id
# matches a `/` or a version such as `-v0`. Every Gymnasium id contains one of them, and no class name does.
ID = re.compile(r"/|-v[0-9]+$")
MAX_SOURCE = 10_000_000  # the maximum size of a Python file, in bytes
OURS = ("max_turns", "render_mode")  # constructor arguments that `make` itself passes. A GAME string cannot set them.
TYPES: dict[type, Kind] = {int: "int", float: "float", bool: "bool", str: "text"}
LITERALS: dict[type, Kind] = {int: "int", str: "choice"}  # the same for the choices of a `Literal`
Constructor = Callable[..., gymnasium.Env[Any, Any]]


def find(head: str) -> str | None:
    """Return the canonical name of an open game, or None. The code that `head` names is imported."""
    if head in gymnasium.registry or entry_points(group=GROUP, name=head):
        return head
    if not (named := CODE.fullmatch(head)):
        return None
    source, name = named["source"], named["name"]
    if ID.search(name):
        import_code(source)
        if name not in gymnasium.registry:
            raise GameError(f"{source} registers no environment {name!r} with Gymnasium")
    elif source.endswith(".py") or find_spec(source.partition(".")[0]):
        import_name(head, "class")
    else:
        return None
    return f"{canonical(source)}:{name}"


def source_of(head: str) -> str | None:
    """Return the module or file that must be imported for `head`, or None."""
    if (registered := gymnasium.registry.get(head)) is not None:
        module = str(registered.entry_point).partition(":")[0]
        return module if module.startswith("gymnasium.") else None
    for entry in entry_points(group=GROUP, name=head):
        return entry.module
    return canonical(named["source"]) if (named := CODE.fullmatch(head)) else None


def parameters(game: str) -> tuple[Parameter, ...]:
    """Return the settings of a game: `seed`, and arguments of its constructor."""
    constructor, registered = _constructor(game), _registered(game)
    defaults = {} if registered is None else registered.kwargs
    own = getattr(constructor, "parameters", ())
    if isinstance(own, tuple) and own:
        table = [replace(parameter, default=defaults.get(parameter.name, parameter.default)) for parameter in own]
    else:
        with code_errors(f"{game}: the arguments cannot be read,"):
            parsed = [_parameter(argument, defaults) for argument in _arguments(constructor).values()]
        table = [parameter for parameter in parsed if parameter is not None]
    seed = Parameter(name="seed", kind="int", low=0, help="seed of every episode")
    return tuple(table) if any(parameter.name == "seed" for parameter in table) else (seed, *table)


def make(
    game: str, settings: Mapping[str, Value], *, max_turns: int | None = None, render_mode: str | None = None
) -> gymnasium.Env[str, str]:
    """Make the game that `find` has named. Raise GameError if its constructor fails."""
    registered = _registered(game)
    arguments = _arguments(_constructor(game))
    words: dict[str, Any] = dict(settings)
    seed = None if "seed" in arguments else words.pop("seed", None)
    passed = {"max_turns": max_turns, "render_mode": render_mode}
    words |= {name: value for name, value in passed.items() if name in arguments and value is not None}
    limit = max_turns if "max_turns" not in arguments else None
    with code_errors(f"{game}: expected an environment from the constructor,"):
        if registered is not None:
            env = gymnasium.make(registered.id, max_episode_steps=limit, disable_env_checker=True, **words)
        else:
            env = _constructor(game)(**words)
        own = isinstance(env, gymnasium.Env) and type(env.unwrapped).__module__.startswith("games.")
    if not isinstance(env, gymnasium.Env):
        raise GameError(f"{game}: expected an environment from the constructor, got {type(env).__name__}")
    if limit is not None and registered is None:
        env = gymnasium.wrappers.TimeLimit(env, limit)
    if own and seed is None:
        return env  # one of our games, which follows the rules
    return ExternalEnv(env, game, seed=seed)


def _registered(game: str) -> EnvSpec | None:
    name = game.rpartition(":")[2]
    return gymnasium.registry.get(name if ID.search(name) else game)


def _constructor(game: str) -> Constructor:
    if (registered := _registered(game)) is not None:
        with code_errors(f"{game}: the entry point of the environment cannot be imported,"):
            creator = registered.entry_point
            found: Any = load_env_creator(creator) if isinstance(creator, str) else creator
        if found is None:
            raise GameError(f"{game}: the environment is registered without an entry point")
        return cast("Constructor", found)
    for entry in entry_points(group=GROUP, name=game):
        with code_errors(f"{game}: the entry point {entry.value} cannot be imported,"):
            return cast("Constructor", entry.load())
    return cast("Constructor", import_name(game, "class"))


def _arguments(constructor: Constructor) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(constructor, eval_str=True).parameters
    except NameError:  # a type that is imported for type checkers only
        return inspect.signature(constructor).parameters


def _parameter(argument: inspect.Parameter, defaults: Mapping[str, Any]) -> Parameter | None:
    """Return a constructor argument as a setting, or None if a GAME string cannot set it."""
    hint: Any = argument.annotation
    if isinstance(hint, str):
        hint = {kind.__name__: kind for kind in TYPES}.get(hint, inspect.Parameter.empty)
    own_default = None if argument.default is inspect.Parameter.empty else argument.default
    default = defaults.get(argument.name, own_default)
    if argument.name in OURS or argument.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        return None
    if get_origin(hint) in (Union, types.UnionType):
        (hint, *others) = [part for part in get_args(hint) if part is not type(None)]
        hint = None if others else hint
    if hint is inspect.Parameter.empty and default is not None:
        hint = type(default)
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    kind = LITERALS.get(type(choices[0])) if choices else TYPES.get(hint)
    if kind is None or len({*map(type, choices)}) > 1:
        return None
    return Parameter(name=argument.name, kind=kind, default=default, choices=choices, help="")


def ask_for_class(source: str, bases: tuple[str, ...] = ("Env", "TextGame", "Wrapper")) -> str:
    """Return the error message for a GAME that names a Python file but no class."""
    try:
        body = ast.parse(read_bytes(Path(source).expanduser(), limit=MAX_SOURCE)).body
    except (SyntaxError, ValueError):  # the import reports the error
        body = []
    found: list[str] = []
    for node in body:
        if isinstance(node, ast.ClassDef):
            own = [ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases]
            if any(base in found or base.endswith(bases) for base in own):
                found.append(node.name)
    names = " or ".join(f"{source}:{name}" for name in found or ["Class"])
    return f"{source} is Python code; name the class: {names}"
