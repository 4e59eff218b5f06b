"""The command `serve`."""

import signal
import socket
import sys
from typing import Annotated

from typer import Option

from terminal import arguments as arg
from terminal import console

PATIENCE = 5  # seconds that a stopped server waits for its sessions


def serve(
    game: arg.Game = None,
    code: arg.Imports = None,
    host: Annotated[str, Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="Port to listen on. 0: any free port.")] = 8000,
    sessions: Annotated[int, Option(min=1, help="Maximum number of concurrent sessions.")] = 64,
    max_turns: arg.MaxTurns = None,
) -> None:
    """Serve a game to clients of OpenEnv, each with a session of its own. Ctrl-C stops the server."""
    import agents
    import games

    game = game or agents.DEFAULT_GAME
    with _listener(host, port) as listener:
        try:
            import uvicorn

            from games.serving.openenv import make_app
        except ModuleNotFoundError as error:
            raise games.GameError(f"serve needs the package {error.name}: pip install -e '.[serve]'") from error
        app = make_app(game, sessions=sessions, max_turns=max_turns)
        for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again after it has closed the sessions
            signal.signal(number, lambda *_: sys.exit())
        name = f"[{host}]" if ":" in host else host
        console.note(f"serving {game} on http://{name}:{listener.getsockname()[1]}; stop with Ctrl-C")
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=PATIENCE)
        uvicorn.Server(config).run(sockets=[listener])


def _listener(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address. Raise GameError if this is not possible."""
    import games

    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]  # Python repeats the address in brackets
        hint = "choose another --host or --port"
        raise games.GameError(f"cannot listen on {host}, port {port}: {reason}; {hint}") from error
