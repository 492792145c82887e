"""Draw `bench/results/BENCH.json` beside it; runs in the plot's own environment."""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

RESULTS = Path(__file__).parent / "results"
MIB = 2**20


def _by_system(rows: list[dict]) -> dict[str, list[dict]]:
    systems: dict[str, list[dict]] = {}
    for row in rows:
        systems.setdefault(row["system"], []).append(row)
    return systems


def _line(axes: plt.Axes, rows: list[dict], of: str, *, scale: float = 1) -> None:
    known = [row for row in rows if row.get(of)]
    if not known:
        return
    label = f"{rows[0]['system']} {rows[0]['version']}"
    points = [row["turns"] for row in known], [row[of] / scale for row in known]
    (line,) = axes.plot(*points, marker=".", label=label)
    last = known[-1]
    if last["outcome"].startswith("died"):
        axes.plot(last["turns"], last[of] / scale, "x", color=line.get_color(), markersize=12)
        axes.annotate(f"died at {last['turns']}", (last["turns"], last[of] / scale), fontsize=8)


def draw_history(rows: list[dict]) -> None:
    """Bytes of history and of database against turns."""
    _, (total, turn) = plt.subplots(1, 2, figsize=(12, 4.5))
    for of in _by_system(rows).values():
        _line(total, of, "history_bytes", scale=MIB)
        _line(total, of, "database_bytes", scale=MIB)
        _line(turn, of, "bytes_a_turn", scale=1024)
    _finish(total, "MiB kept after so many turns")
    _finish(turn, "KiB a turn, the last 20")


def draw_turn(rows: list[dict]) -> None:
    """Milliseconds of a turn that are neither model nor tool."""
    _, axes = plt.subplots(figsize=(7, 4.5))
    for of in _by_system(rows).values():
        _line(axes, of, "turn_p50_ms")
    _finish(axes, "ms a turn, neither model nor tool (p50)")


def draw_recover(rows: list[dict]) -> None:
    """Seconds from the new worker's start to the next activity."""
    _, axes = plt.subplots(figsize=(7, 4.5))
    systems = _by_system(rows)
    for place, (name, of) in enumerate(systems.items()):
        for shift, row in enumerate(of):
            colour = f"C{['between', 'model', 'tool'].index(row['moment'])}"
            label = row["moment"] if place == 0 else None
            axes.bar(place + shift * 0.25, row["recovery_s"] or 0, 0.25, color=colour, label=label)
        axes.text(place, -0.02, "", transform=axes.get_xaxis_transform())
        systems[name] = of
    axes.set_xticks([place + 0.25 for place in range(len(systems))], list(systems))
    axes.set_ylabel("s from the new worker's start to the next activity")
    axes.legend(title="killed in")


def _finish(axes: plt.Axes, title: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("turns")
    axes.set_title(title, fontsize=10)
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend(fontsize=7)


def main(bench: str) -> None:
    """Draw one bench."""
    rows = json.loads((RESULTS / f"{bench}.json").read_text())
    {"history": draw_history, "turn": draw_turn, "recover": draw_recover}[bench](rows)
    plt.figtext(0.01, 0.005, f"{rows[-1]['date']}, {rows[-1]['machine']}", fontsize=7)
    plt.tight_layout()
    plt.savefig(RESULTS / f"{bench}.png", dpi=110)


if __name__ == "__main__":
    main(sys.argv[1])
