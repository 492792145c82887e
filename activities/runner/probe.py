"""Says what the sandbox offers, and unpacks the runner so that later runs start faster."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any

from .bytecode import unpack
from .state import identity, open_state


def probe(request: dict[str, Any]) -> dict[str, Any]:
    """Answer with Python's version, the programs found, free bytes and the real paths."""
    state = open_state(request)
    unpack()
    disk = os.statvfs(state.workspace)
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "bash": shutil.which("bash") is not None,
        "rg": shutil.which("rg") is not None,
        "git": shutil.which("git") is not None,
        "free_bytes": disk.f_bavail * disk.f_frsize,
        "home": state.home,
        "identity": identity(state),
        "workspace": os.path.realpath(state.workspace),
    }
