"""Entry: `python3 <archive> COMMAND`, a JSON object on stdin, a JSON object on the last line of stdout.

The runner works inside the sandbox: stdlib only, Python 3.8 syntax. It owns `<home>/.nightshift`; it must
not know the worker, the object store's credentials or Temporal.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from typing import Any, cast

from .dispatch import answer


def main() -> None:
    """Answer the request on stdin."""
    os.umask(0o022)
    gc.disable()  # it lives for one answer, and a scan makes ten thousands of tuples that all stay
    try:
        request = json.loads(sys.stdin.buffer.read() or b"{}")
    except ValueError:
        request = None
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if isinstance(request, dict):
        result = answer(command, cast("dict[str, Any]", request))
    else:
        result = {"error": {"kind": "invalid_request", "message": "Stdin holds no JSON object."}}
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
