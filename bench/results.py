"""Results on disk: a list of rows, one file a bench; a bench replaces the rows of the systems that it ran."""

import datetime as dt
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from typing import Any

from bench.systems import BENCH, ENVIRONMENTS

Row = dict[str, Any]


def stamped(rows: Sequence[Row]) -> list[Row]:
    """The rows with the day and the machine."""
    today = dt.datetime.now(dt.UTC).date().isoformat()
    return [{**row, "date": today, "machine": machine()} for row in rows]


def machine() -> str:
    """Cores, architecture and system, as figures are told with them."""
    told = platform.freedesktop_os_release() if platform.system() == "Linux" else {}
    system = told.get("PRETTY_NAME", platform.platform()).replace(" GNU/Linux", "").split(" (")[0]
    return f"{os.cpu_count()} cores, {platform.machine()}, {system}"


def write(bench: str, rows: Sequence[Row]) -> None:
    """Put the rows into `bench/results/BENCH.json` and draw the plot beside it."""
    keep(bench, rows)
    plotter = ENVIRONMENTS / "plot" / "bin" / "python"
    subprocess.run([plotter, BENCH / "plot.py", bench], check=True)


def keep(bench: str, rows: Sequence[Row]) -> None:
    """Put the rows into `bench/results/BENCH.json`."""
    path = BENCH / "results" / f"{bench}.json"
    path.parent.mkdir(exist_ok=True)
    fresh = {row["system"] for row in rows}
    kept = json.loads(path.read_text()) if path.exists() else []
    merged = [row for row in kept if row["system"] not in fresh] + stamped(rows)
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in merged) + "\n]\n")
    print(f"wrote {path.relative_to(BENCH.parent)}, {len(rows)} rows")
