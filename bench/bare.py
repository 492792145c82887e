"""The loop with nothing durable about it: model, tool, a list in memory. The floor of `make bench-turn`."""

import platform
import time
from collections.abc import Sequence
from statistics import median

from bench.peers import script
from bench.results import Row
from bench.turns import WINDOW


async def rows(checkpoints: Sequence[int], turns: int) -> list[Row]:
    """Play the conversation in memory, and tell of each checkpoint."""
    messages, took = [script.prompt(turns)], []
    began = time.perf_counter()
    walls = []
    mark = began
    while True:
        asked = time.perf_counter()
        following = await script.next_turn(messages)
        answered = time.perf_counter()
        if following is None:
            break
        called = time.perf_counter()
        output = await script.run_command(script.command(*following))
        ran = time.perf_counter()
        messages += [script.said(*following), output]
        took.append((asked - mark) + (called - answered))
        mark = ran
        walls.append(ran - began)
    points = [point for point in checkpoints if point < turns] + [turns]
    return [_row(point, took[:point], walls[point - 1], alive=point < turns) for point in points]


def _row(turns: int, took: list[float], wall: float, *, alive: bool) -> Row:
    return {
        "system": "bare loop",
        "version": f"Python {platform.python_version()}",
        "turns": turns,
        "outcome": "alive" if alive else "completed",
        "wall_s": round(wall, 3),
        "turn_p50_ms": round(median(took[-WINDOW:]) * 1000, 4),
    }
