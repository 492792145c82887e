"""The TCP ports of one checkout: free ones, chosen once and remembered; it binds none beyond a look."""

from __future__ import annotations

import json
import random
import socket
from pathlib import Path

from starter.local.home import read_table, write_private
from starter.local.parts import PartFailed

# Below the range from which systems take the ports of outgoing connections.
LOWEST, HIGHEST = 20000, 29999
ATTEMPTS = 200


def is_free(port: int) -> bool:
    """Whether nothing listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Ports:
    """Ports by name; the same name gets the same port again as long as that is free."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known = {name: port for name, port in read_table(file).items() if isinstance(port, int)}
        self._claimed: set[str] = set()

    def claim(self, name: str, *, preferred: int | None = None) -> int:
        """The remembered port, else the preferred, else any free one; PartFailed when none is free.

        Within one run a name keeps its port, in use or not.
        """
        if name in self._claimed:
            return self._known[name]
        for port in (self._known.get(name), preferred):
            if port and port not in self._others(name) and is_free(port):
                return self._remember(name, port)
        return self._remember(name, self._any(name))

    def _any(self, name: str) -> int:
        for _ in range(ATTEMPTS):
            port = random.randint(LOWEST, HIGHEST)
            if port not in self._others(name) and is_free(port):
                return port
        raise PartFailed(
            name,
            why=f"no free port found between {LOWEST} and {HIGHEST}",
            fix="stop what occupies these ports of 127.0.0.1",
        )

    def _others(self, name: str) -> set[int]:
        return {port for other, port in self._known.items() if other != name}

    def _remember(self, name: str, port: int) -> int:
        self._claimed.add(name)
        if self._known.get(name) != port:
            self._known[name] = port
            write_private(self._file, text=json.dumps(self._known, indent=1))
        return port
