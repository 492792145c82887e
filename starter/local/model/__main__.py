"""`python -m starter.local.model --port N --data DIR`: the Messages API stand-in on 127.0.0.1."""

import argparse
import os
import socket
import sys
from pathlib import Path

import uvicorn

from starter.local.model.server import make_app

KEY_VARIABLE = "NIGHTSHIFT_LOCAL_KEY"
HOST = "127.0.0.1"


def main() -> int:
    """Serve until told to stop; return the exit code."""
    options = _parse()
    key = os.environ.get(KEY_VARIABLE, "")
    if not key:
        print(
            f"{KEY_VARIABLE} is not set: clients must show it as their API key, so set one.", file=sys.stderr
        )
        return 2
    try:
        listener = socket.create_server((HOST, options.port), backlog=512)
    except OSError as error:
        print(f"Cannot listen on {HOST}:{options.port}: {error}. Choose another --port.", file=sys.stderr)
        return 1
    app = make_app(key=key, data=options.data, pace=options.pace)
    print(f"listening on http://{HOST}:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        app, log_level="error", access_log=False, timeout_graceful_shutdown=1, lifespan="off"
    )
    uvicorn.Server(config).run(sockets=[listener])
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m starter.local.model", description=__doc__)
    parser.add_argument(
        "--port", type=int, required=True, help="TCP port; 0 chooses a free one and prints it"
    )
    parser.add_argument("--data", type=Path, required=True, help="directory for the journal of requests")
    parser.add_argument("--pace", type=float, default=0.0, help="seconds between the events of a stream")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
