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
# constructor arguments that `make` itself passes. A GAME string cannot set them.
MAKE_ARGUMENTS = ("max_turns", "render_mode")
TYPES: dict[type, Kind] = {int: "int", float: "float", bool: "bool", str: "text"}
LITERALS: dict[type, Kind] = {int: "int", str: "choice"}  # the same for the choices of a `Literal`
Constructor = Callable[..., gymnasium.Env[Any, Any]]


def find(game: str) -> str | None:
    """Return the canonical name of an open game, or None for other games. May import the game's code."""
    if game in gymnasium.registry or entry_points(group=GROUP, name=game):
        return game
    if not (match := CODE.fullmatch(game)):
        return None
    source, name = match["source"], match["name"]
    if ID.search(name):
        import_code(source)
        if name not in gymnasium.registry:
            raise GameError(f"{source} registers no environment {name!r} with Gymnasium")
    elif source.endswith(".py") or find_spec(source.partition(".")[0]):
        import_name(game, "class")
    else:
        return None
    return f"{canonical(source)}:{name}"


def source_of(game: str) -> str | None:
    """Return the module or file that must be imported for `game`, or None."""
    if (env_spec := gymnasium.registry.get(game)) is not None:
        module = str(env_spec.entry_point).partition(":")[0]
        return module if module.startswith("gymnasium.") else None
    for entry_point in entry_points(group=GROUP, name=game):
        return entry_point.module
    return canonical(match["source"]) if (match := CODE.fullmatch(game)) else None


def parameters(game: str) -> tuple[Parameter, ...]:
    """Return the settings of an open game: `seed` and the arguments of its constructor."""
    constructor, env_spec = _constructor(game), _env_spec(game)
    defaults = {} if env_spec is None else env_spec.kwargs
    declared = getattr(constructor, "parameters", ())
    if isinstance(declared, tuple) and declared:
        settings = [
            replace(parameter, default=defaults.get(parameter.name, parameter.default)) for parameter in declared
        ]
    else:
        with code_errors(f"{game}: the arguments cannot be read,"):
            converted = [_parameter(argument, defaults) for argument in _arguments(constructor).values()]
        settings = [parameter for parameter in converted if parameter is not None]
    seed = Parameter(name="seed", kind="int", low=0, help="seed of every episode")
    return tuple(settings) if any(parameter.name == "seed" for parameter in settings) else (seed, *settings)


def make(
    game: str, settings: Mapping[str, Value], *, max_turns: int | None = None, render_mode: str | None = None
) -> gymnasium.Env[str, str]:
    """Make the open game with the canonical name `game`. Raise GameError if the constructor fails."""
    env_spec = _env_spec(game)
    arguments = _arguments(_constructor(game))
    keywords: dict[str, Any] = dict(settings)
    seed = None if "seed" in arguments else keywords.pop("seed", None)
    standard_arguments = {"max_turns": max_turns, "render_mode": render_mode}
    keywords |= {name: value for name, value in standard_arguments.items() if name in arguments and value is not None}
    turn_limit = max_turns if "max_turns" not in arguments else None
    with code_errors(f"{game}: expected an environment from the constructor,"):
        if env_spec is not None:
            env = gymnasium.make(env_spec.id, max_episode_steps=turn_limit, disable_env_checker=True, **keywords)
        else:
            env = _constructor(game)(**keywords)
        is_ours = isinstance(env, gymnasium.Env) and type(env.unwrapped).__module__.startswith("games.")
    if not isinstance(env, gymnasium.Env):
        raise GameError(f"{game}: expected an environment from the constructor, got {type(env).__name__}")
    if turn_limit is not None and env_spec is None:
        env = gymnasium.wrappers.TimeLimit(env, turn_limit)
    if is_ours and seed is None:
        return env  # one of our games, which follows the rules
    return ExternalEnv(env, game, seed=seed)


def _env_spec(game: str) -> EnvSpec | None:
    name = game.rpartition(":")[2]
    return gymnasium.registry.get(name if ID.search(name) else game)


def _constructor(game: str) -> Constructor:
    if (env_spec := _env_spec(game)) is not None:
        with code_errors(f"{game}: the entry point of the environment cannot be imported,"):
            entry_point = env_spec.entry_point
            creator: Any = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
        if creator is None:
            raise GameError(f"{game}: the environment is registered without an entry point")
        return cast("Constructor", creator)
    for plugin in entry_points(group=GROUP, name=game):
        with code_errors(f"{game}: the entry point {plugin.value} cannot be imported,"):
            return cast("Constructor", plugin.load())
    return cast("Constructor", import_name(game, "class"))


def _arguments(constructor: Constructor) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(constructor, eval_str=True).parameters
    except NameError:  # a type that is imported for type checkers only
        return inspect.signature(constructor).parameters


def _parameter(argument: inspect.Parameter, defaults: Mapping[str, Any]) -> Parameter | None:
    """Convert a constructor argument to a setting. Return None if a GAME string cannot set the argument."""
    annotation: Any = argument.annotation
    if isinstance(annotation, str):
        annotation = {kind.__name__: kind for kind in TYPES}.get(annotation, inspect.Parameter.empty)
    signature_default = None if argument.default is inspect.Parameter.empty else argument.default
    default = defaults.get(argument.name, signature_default)
    if argument.name in MAKE_ARGUMENTS or argument.kind in (
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    ):
        return None
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation, *further_types) = [member for member in get_args(annotation) if member is not type(None)]
        annotation = None if further_types else annotation
    if annotation is inspect.Parameter.empty and default is not None:
        annotation = type(default)
    choices = get_args(annotation) if get_origin(annotation) is Literal else ()
    kind = LITERALS.get(type(choices[0])) if choices else TYPES.get(annotation)
    if kind is None or len({*map(type, choices)}) > 1:
        return None
    return Parameter(name=argument.name, kind=kind, default=default, choices=choices, help="")


def missing_class_message(source: str, bases: tuple[str, ...] = ("Env", "TextGame", "Wrapper")) -> str:
    """Return an error message that lists the game classes in the Python file `source`."""
    try:
        body = ast.parse(read_bytes(Path(source).expanduser(), limit=MAX_SOURCE)).body
    except (SyntaxError, ValueError):  # the import reports the error
        body = []
    class_names: list[str] = []
    for node in body:
        if isinstance(node, ast.ClassDef):
            base_names = [ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases]
            if any(base in class_names or base.endswith(bases) for base in base_names):
                class_names.append(node.name)
    names = " or ".join(f"{source}:{name}" for name in class_names or ["Class"])
    return f"{source} is Python code; name the class: {names}"
