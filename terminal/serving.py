"""The command `serve`."""

from typing import Annotated

from typer import Option

from terminal import arguments as arg


def serve(
    game: arg.Game = None,
    code: arg.Imports = None,
    host: Annotated[str, Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    sessions: Annotated[int, Option(min=1, help="Maximum number of concurrent sessions.")] = 64,
    max_turns: arg.MaxTurns = None,
) -> None:
    """Serve a game to clients of OpenEnv, each with a session of its own."""
    import agents
    import games

    try:
        import uvicorn

        from games.serving.openenv import make_app
    except ImportError as error:
        raise games.GameError("serve needs the package openenv: pip install '.[serve]'") from error
    uvicorn.run(make_app(game or agents.DEFAULT_GAME, sessions=sessions, max_turns=max_turns), host=host, port=port)
