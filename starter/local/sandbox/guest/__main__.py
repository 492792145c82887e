"""What runs inside a sandbox: envd's half of E2B's protocol, and nothing that knows the machine outside.

The program is given one inherited socket, the channel to the server outside, and serves until that closes.
"""

import importlib.util
import socket
import sys
from types import ModuleType


def bypass_client_package() -> None:
    """Make `e2b.envd.*` importable without running `e2b/__init__`, which costs a second of imports.

    Raises:
        ImportError: the e2b package is not on the path.

    """
    spec = importlib.util.find_spec("e2b")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("The e2b package is not installed; run `uv sync`.")
    module = ModuleType("e2b")
    module.__path__ = list(spec.submodule_search_locations)
    sys.modules.setdefault("e2b", module)


def main() -> None:
    """Serve on the channel whose descriptor is the first argument."""
    bypass_client_package()
    from starter.local.sandbox.guest.channel import serve

    if len(sys.argv) > 1:
        serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
