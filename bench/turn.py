"""Time of a turn that is neither model nor tool, on each system and in a bare loop: `make bench-turn`."""

import argparse

from bench import bare, results
from bench.history import CHECKPOINTS, measure, parse
from bench.stage import open_stage
from bench.systems import chosen
from starter.exits import run


async def main(options: argparse.Namespace) -> int:
    """Measure the bare loop, then the chosen systems one after another, on one stack."""
    results.write("turn", await bare.rows(CHECKPOINTS, options.turns))
    async with open_stage() as stage:
        for system in chosen(options.systems):
            rows = await measure(stage, system, turns=options.turns, limit=options.limit)
            results.write("turn", rows)
    return 0


if __name__ == "__main__":
    run(main(parse()))
