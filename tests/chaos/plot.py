"""Draw a report of the chaos beside it; runs in the plot's own environment."""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt


def draw_recovery(axes: plt.Axes, recovery: dict[str, list[float]]) -> None:
    """Draw which share of the kills of each kind was recovered from within so many seconds."""
    for kind, seconds in sorted(recovery.items()):
        ordered = sorted(seconds)
        shares = [100 * (place + 1) / len(ordered) for place in range(len(ordered))]
        axes.step([max(0.01, each) for each in ordered], shares, where="post", label=kind)
    axes.set_xscale("log")
    axes.set_xlabel("s from a kill -9 until every build that it hit had finished a step")
    axes.set_ylabel("% of the kills")
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend(fontsize=7)


def draw_counts(axes: plt.Axes, report: dict) -> None:
    """Draw the kills by kind, and what came out of them."""
    kills = sorted(report["kills"].items(), key=lambda pair: pair[1])
    bars = axes.barh([kind for kind, _ in kills], [count for _, count in kills], color="tab:gray")
    axes.bar_label(bars, fontsize=7)
    axes.set_title(
        f"{sum(report['kills'].values())} kills -9, {sum(report['faults'].values())} faults; "
        f"builds: {report['passed']} passed, {report['failed']} failed\n"
        f"files lost {report['files_lost']}, commands run twice {report['commands_twice']}, "
        f"charges doubled {report['charges_doubled']}; "
        f"calls undone and told so {report['calls_undone']} of {report['calls']}",
        fontsize=8,
    )


def main(path: Path) -> None:
    """Draw one report."""
    report = json.loads(path.read_text())
    _, (counts, recovery) = plt.subplots(1, 2, figsize=(12, 4.5))
    draw_counts(counts, report)
    draw_recovery(recovery, report["recovery"])
    plt.figtext(0.01, 0.005, f"seed {report['seed']}, {report['date']}, {report['machine']}", fontsize=7)
    plt.tight_layout()
    plt.savefig(path.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
