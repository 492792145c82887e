"""History events and bytes, and time a turn, of one conversation on each system: `make bench-history`.

One run of the largest number of turns gives every smaller one: a conversation's first turns are the same
whatever follows. The time a turn comes from the same history: the rows of `make bench-turn` are written too.
"""

import argparse

from bench import checkpointer, results
from bench.stage import Stage, ended, open_stage
from bench.systems import CHECKPOINTER, SYSTEMS, System, chosen
from bench.turns import Read
from starter.exits import run

CHECKPOINTS = (10, 25, 50, 75, 100, 125, 150, 200, 300, 400, 500, 750, 1000, 1500, 2000)


def rows_of(system: System, read: Read, outcome: str, turns: int) -> list[results.Row]:
    """A row at each checkpoint that was reached, the last one telling how it ended."""
    last = min(read.done, turns)
    reached = [point for point in CHECKPOINTS if point < last] + ([last] if last else [])
    told = outcome if outcome == "completed" else f"{outcome} (turn {last})"
    return [
        {
            "system": system.name,
            "version": system.version,
            "turns": point,
            "outcome": told if point == last else "alive",
            **read.at(point),
        }
        for point in reached
    ]


async def measure(stage: Stage, system: System, *, turns: int, limit: float) -> list[results.Row]:
    """Play the conversation on one system."""
    if system is CHECKPOINTER:
        return _told(await checkpointer.measure(stage, CHECKPOINTS, turns=turns, limit=limit))
    worker = await stage.start_worker(system)
    try:
        handle = await stage.start(system, turns)
        outcome = await ended(stage, handle, limit=limit)
    finally:
        await worker.kill()
    read = await stage.read(handle, system)
    return _told(rows_of(system, read, outcome, turns))


def _told(rows: list[results.Row]) -> list[results.Row]:
    for row in rows:
        print(row, flush=True)
    return rows


async def main(options: argparse.Namespace) -> int:
    """Measure the chosen systems one after another, on one stack."""
    async with open_stage() as stage:
        for system in chosen(options.systems):
            rows = await measure(stage, system, turns=options.turns, limit=options.limit)
            results.write("history", rows)
            results.write("turn", rows)
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=2000)
    parser.add_argument("--limit", type=float, default=3600, help="seconds that one system may take")
    parser.add_argument("--systems", default="", help=f"some of {','.join(SYSTEMS)}")
    return parser.parse_args()


if __name__ == "__main__":
    run(main(parse()))
