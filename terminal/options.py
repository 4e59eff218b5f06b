"""Add the settings of `TrainConfig` as options to `typer` commands."""

import inspect
import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from agents.protocol import AgentError
from terminal import completion, console
from terminal.help_page import GAME, METAVARS, HelpCommand, Row, default_remark, page

if TYPE_CHECKING:
    from agents.config import TrainConfig
    from agents.training.presets import Layer

HELP = ("--help", "-h", "--help-all")
# metavars of the settings that are texts
TEXTS = {
    "optimizer": "NAME",
    "game": GAME,
    "eval_game": GAME,
    "data": "SOURCE",
    "init": "RUN",
    "trunk": "TRUNK",
    "bonus_command": "START",
    "probe_prompts": "PROMPTS",
    "judge": "REWARD",
    "tracker": "NAMES",
}
REPEATABLE = frozenset({"data"})  # settings that may be given several times; commas join the values
# settings that `--help` shows; `--help-all` shows all settings
BASIC = frozenset(
    {
        *("optimizer", "game", "seed", "init", "trunk", "lora"),
        *("episodes", "parallel", "max_turns", "mode", "context", "reward_scale", "win_bonus", "step_cost"),
        *("data",),
        *("expert", "beta"),
        *("epochs", "minibatches", "lr", "value_lr", "q_lr", "critic_warmup"),
        *("gamma", "gae_lambda", "clip_range", "value_coef", "q_coef", "entropy_coef", "kl_coef"),
        *("iterations", "env_steps", "minutes", "stop_success", "probe_prompts", "eval_game"),
    }
)
Values = dict[str, Any]


def with_config(*, skip: tuple[str, ...] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds options for settings. The command receives the dict `settings`: name -> value."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        command_parameters = [
            p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "settings"
        ]

        def wrapped(**options: Any) -> None:
            command(
                **{parameter.name: options.pop(parameter.name) for parameter in command_parameters},
                settings=parsed(options),
            )

        # the other commands get no options, because importing Pydantic and building them takes 0.1 s
        parameters = command_parameters + (_parameters(skip) if command.__name__ in completion.typed_command() else [])
        wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
        wrapped.__dict__["__signature__"] = inspect.Signature(parameters)
        wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return wrapped

    return decorate


class ConfigCommand(HelpCommand):
    """A command whose help page also lists settings and defaults."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        from agents.training.presets import merged, with_presets

        help_words = [word for word in args if word in HELP]
        ctx.resilient_parsing |= bool(help_words)  # required options may be missing, as they may in a completion
        remaining = super().parse_args(ctx, [word for word in args if word not in HELP])
        if help_words:
            values = merged(with_presets(explicit_layers(parsed(ctx.params), ctx.params)))
            own_values = {name: value for name, value in values.items() if name in ctx.params}
            rows = {"Options": [("--help-all", "Show all options.", "")]} | _rows(
                own_values, everything="--help-all" in help_words
            )
            origins = console.command_line("train", "--dry-run")
            note = f"The defaults include the presets of this game, trunk and optimizer. Show their origins: {origins}"
            console.show(page(ctx, rows, skip=own_values, note=note))
            ctx.exit()
        return remaining


def parsed(options: Mapping[str, Any]) -> Values:
    """Return the parsed settings among a command's options."""
    from agents.config import FIELDS, parse

    joined = {
        name: ",".join(value) or None if isinstance(value, list | tuple) else value for name, value in options.items()
    }
    settings = {name: value for name, value in joined.items() if name in FIELDS and value is not None}
    return {name: value if isinstance(value, bool) else parse(name, value) for name, value in settings.items()}


def explicit_layers(settings: Values, options: Values) -> "list[Layer]":
    """Return settings of the resumed run, the --config file and the options. Import the code that settings name."""
    from agents.imports import load_imports, merge_imports, source_of
    from agents.training import presets

    if options.get("code"):
        settings = {**settings, "imports": ",".join([settings.get("imports", ""), *options["code"]])}
    layers = [presets.Layer(presets.GIVEN, _with_code(settings))]
    if options.get("config"):
        layer = presets.read_toml(Path(options["config"]))
        layers.insert(0, layer._replace(values=_with_code(layer.values)))
        if imports := merge_imports(*(str(layer.values.get("imports", "")) for layer in layers)):
            layers[-1] = layers[-1]._replace(values={**layers[-1].values, "imports": imports})
    if options.get("resume") and options.get("folder"):
        from agents.storage.run_folder import SETTINGS, read_config

        folder = Path(options["folder"])
        stored, settings = read_config(folder).flat(), presets.merged(layers)
        # naming the file of a class is enough
        given_sources, stored_code = set(map(source_of, _code_in(settings))), _code_in(stored)
        if missing := sorted(entry for entry in stored_code if source_of(entry) not in given_sources):
            import_options = shlex.join(_import_options(missing))
            raise AgentError(f"{folder} needs code that is imported only if you name it: add {import_options}")
        stored_sources = set(map(source_of, stored_code))  # naming known code again changes nothing
        new_entries = [
            entry for entry in str(settings.get("imports", "")).split(",") if source_of(entry) not in stored_sources
        ]
        imports = merge_imports(str(stored.get("imports", "")), *new_entries)
        load_imports(imports)  # a stored entry may also name a class of a file that the user named
        if "imports" in settings:
            layers[-1] = layers[-1]._replace(values={**layers[-1].values, "imports": imports})
        layers.insert(0, presets.Layer(str(folder / SETTINGS), stored))
    return layers


def with_optimizers(optimizers: Sequence[str], settings: Values) -> tuple[list[str], Values]:
    """Import optimizers of the form FILE.py:Class. Return a tuple (optimizer names, settings with the imports)."""
    from agents.imports import optimizer_name

    parts = [optimizer.partition("+") for optimizer in optimizers]
    names = [f"{optimizer_name(name)}{plus}{suffix}" for name, plus, suffix in parts]
    code = [settings.get("imports", ""), *(name for name, _, _ in parts if ":" in name)]
    return names, {**settings, "imports": ",".join(code)} if any(code) else settings


def _with_code(values: Mapping[str, Any]) -> Values:
    """Import the user's code. In the returned settings, the optimizer has its registered name."""
    from agents.imports import load_imports, merge_imports, optimizer_name

    imports, optimizer = str(values.get("imports", "")), str(values.get("optimizer", ""))
    if ":" in optimizer or optimizer.endswith(".py"):
        imports, values = f"{imports},{optimizer}", {**values, "optimizer": optimizer_name(optimizer)}
    load_imports(imports)
    return {**values, "imports": merge_imports(imports)} if imports else dict(values)


def resume_command(folder: Path, values: Values) -> str:
    return console.command_line("train", "--resume", "--out", str(folder), *_import_options(sorted(_code_in(values))))


def play_command(folder: Path, values: Values) -> str:
    """Return a shell command that plays a run's game with the run's agent."""
    from games.code_import import CODE
    from games.game_strings import code_in

    imports, game_code = filter(None, values["imports"].split(",")), code_in(values["game"])
    code = [entry for entry in imports if not CODE.fullmatch(entry) and entry not in game_code]
    return console.command_line("play", "--agent", str(folder), "--game", values["game"], *_import_options(code))


def _import_options(code: Iterable[str]) -> list[str]:
    return [word for entry in code for word in ("--import", entry)]


def _code_in(values: Values) -> set[str]:
    from actde.registry import module_of
    from games.game_strings import code_in

    game, tests, judge, optimizer, imports = (
        str(values.get(name, "")) for name in ("game", "eval_game", "judge", "optimizer", "imports")
    )
    return set(filter(None, {*code_in(game, judge), *code_in(tests), module_of(optimizer), *imports.split(",")}))


def _parameters(skip: tuple[str, ...]) -> list[inspect.Parameter]:
    from actde.config import choices, value_type
    from agents.config import FIELDS

    completions = {"game": completion.games, "optimizer": completion.optimizers, "trunk": completion.trunks}
    parameters, keyword = list[inspect.Parameter](), inspect.Parameter.KEYWORD_ONLY
    for name, field in FIELDS.items():
        if name not in (*skip, "imports"):  # the command defines --import
            option_type: Any = list[str] if name in REPEATABLE else bool if value_type(field) is bool else str
            option = Option(autocompletion=completions.get(name, completion.completer(choices(field))))
            annotation = Annotated[option_type | None, option]
            parameters.append(inspect.Parameter(name, keyword, default=None, annotation=annotation))
    return parameters


def _rows(values: Values, *, everything: bool) -> dict[str, list[Row]]:
    from agents.config import FIELDS, GROUP_OF, NONE

    rows: dict[str, list[Row]] = {}
    for name, field in FIELDS.items():
        if name in values and (everything or name in BASIC):
            value = NONE if values[name] is None else values[name]
            row = option_usage(name), field.description or "", default_remark(value)
            rows.setdefault(GROUP_OF[name].capitalize(), []).append(row)
    return rows


def option_usage(name: str) -> str:
    """Return the usage of a setting's option, such as `--kl-target X|none`."""
    from actde.config import choices, is_optional, value_type
    from agents.config import FIELDS, NONE

    field, flag = FIELDS[name], name.replace("_", "-")
    if value_type(field) is bool:
        return f"--[no-]{flag}"
    argument = "|".join(choices(field)) or TEXTS.get(name) or METAVARS.get(value_type(field), "TEXT")
    return f"--{flag} {argument}" + (f"|{NONE}" if is_optional(field) else "")


def show_configuration(config: "TrainConfig", origins: Mapping[str, str], *, as_json: bool) -> None:
    """Print the configuration of a run. Raise an error for an unknown game or optimizer."""
    import games
    from actde import optimizer_class

    for game in filter(None, (config.run.game, config.evaluation.eval_game)):
        games.resolve(game)
    optimizer_class(config.run.optimizer)
    rows: dict[str, Any] = {name: {"value": value, "origin": origins[name]} for name, value in config.flat().items()}
    memory, lines = _memory(config)
    console.output(rows | {"memory": memory}, [*config_lines(config, origins), "", *lines], as_json=as_json)


def _memory(config: "TrainConfig") -> tuple[dict[str, Any], list[str]]:
    """Return the predicted memory twice: as JSON and as TOML comment lines."""
    from agents.training.memory_prediction import launched_forecast, prediction_lines
    from agents.training.memory_simulation import UnpredictableError

    try:
        prediction, sizes = launched_forecast(config)
    except UnpredictableError as error:
        return {"error": str(error)}, [f"# The memory cannot be predicted: {' '.join(str(error).split())}"]
    numbers = {"peak": prediction.peak, "phases": prediction.phases, "components": asdict(prediction)}
    return {"sizes": sizes, **numbers}, prediction_lines(prediction, sizes)


def config_lines(config: "TrainConfig", origins: Mapping[str, str]) -> list[str]:
    """Return the configuration as TOML lines. A comment gives each value's origin."""
    from agents.config import NONE

    lines: list[str] = []
    for group, table in config.model_dump().items():
        lines += ["", f"[{group}]"]
        for name, value in table.items():
            setting = f"{name} = {json.dumps(NONE if value is None else value, ensure_ascii=False)}"
            lines.append(f"{setting:45}  # {origins[name]}")
    return lines[1:]
