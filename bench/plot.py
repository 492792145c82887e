"""Draw `bench/results/BENCH.json` beside it; runs in the plot's own environment."""

import json
import statistics
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
    last = known[-1]
    died = last["outcome"].startswith("died")
    label = f"{last['system']} {last['version']}" + (f", died at {last['turns']}" if died else "")
    points = [row["turns"] for row in known], [row[of] / scale for row in known]
    (line,) = axes.plot(*points, marker=".", label=label)
    if died:
        axes.plot(last["turns"], last[of] / scale, "x", color=line.get_color(), markersize=12)


def draw_history(rows: list[dict]) -> None:
    """Bytes of history, and of what the checkpointer wrote, against turns."""
    _, (total, turn) = plt.subplots(1, 2, figsize=(12, 4.5))
    for of in _by_system(rows).values():
        _line(total, of, "history_bytes", scale=MIB)
        _line(total, of, "written_bytes", scale=MIB)
        _line(turn, of, "bytes_a_turn", scale=1024)
    _finish(total, "MiB written after so many turns")
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
    for place, moment in enumerate(("between", "model", "tool")):
        known = [
            (at + 0.25 * place, row["recovery_s"] or 0)
            for at, of in enumerate(systems.values())
            for row in of
            if row["moment"] == moment
        ]
        bars = axes.bar([at for at, _ in known], [seconds for _, seconds in known], 0.24, label=moment)
        axes.bar_label(bars, fontsize=7)
    names = [f"{name}\nturn {of[0]['turns']}" for name, of in systems.items()]
    axes.set_xticks([at + 0.25 for at in range(len(systems))], names, fontsize=7)
    axes.set_ylabel("s from the new worker's start to the next activity")
    axes.legend(title="killed in")


def draw_snapshot(rows: list[dict]) -> None:
    """Bytes and seconds of an increment, and seconds of a restore."""
    _, (size, saved, back) = plt.subplots(1, 3, figsize=(13, 4.5))
    for axes, kind, figures, scale, title in (
        (size, "increment", ("bytes",), 1e6, "MB an increment"),
        (saved, "increment", ("frozen_s", "capture_s", "upload_s"), 1, "s an increment"),
        (back, "restore", ("restore_s",), 1, "s a restore"),
    ):
        _medians(axes, [row for row in rows if row["kind"] == kind], figures, scale)
        axes.set_title(f"{title}, median")
    size.set_yscale("log")


def _medians(axes: plt.Axes, rows: list[dict], figures: tuple[str, ...], scale: float) -> None:
    systems = _by_system(rows)
    for place, figure in enumerate(figures):
        known = [
            (at + 0.28 * place, statistics.median(row[figure] for row in of) / scale)
            for at, of in enumerate(systems.values())
            if of[0].get(figure)
        ]
        bars = axes.bar(
            [at for at, _ in known], [of for _, of in known], 0.27, label=figure.removesuffix("_s")
        )
        axes.bar_label(bars, fmt="%.2f", fontsize=7)
    middle = 0.14 * (len(figures) - 1)
    axes.set_xticks([at + middle for at in range(len(systems))], list(systems))
    if len(figures) > 1:
        axes.legend(fontsize=7)


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
    draw = {"history": draw_history, "turn": draw_turn, "recover": draw_recover, "snapshot": draw_snapshot}
    draw[bench](rows)
    plt.figtext(0.01, 0.005, f"{rows[-1]['date']}, {rows[-1]['machine']}", fontsize=7)
    plt.tight_layout()
    plt.savefig(RESULTS / f"{bench}.png", dpi=110)


if __name__ == "__main__":
    main(sys.argv[1])
