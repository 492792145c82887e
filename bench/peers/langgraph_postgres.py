"""LangGraph with its own Postgres checkpointer and no Temporal, as its documentation sets it up.

`python -m peers.langgraph_postgres DATABASE THREAD TURNS CHECKPOINT…` prints a row at each checkpoint.
A second process with the same thread goes on where the first was killed.
"""

import asyncio
import json
import sys
import time
from statistics import median

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from peers import script
from peers.langgraph_agent import build_graph
from psycopg import AsyncConnection

WINDOW = 20
SIZE = """SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c
    WHERE c.relkind = 'r' AND c.relname LIKE 'checkpoint%'"""


async def main(database: str, thread: str, turns: int, checkpoints: set[int]) -> None:
    """Play the conversation, or its rest."""
    async with (
        AsyncPostgresSaver.from_conn_string(database) as saver,
        await AsyncConnection.connect(database, autocommit=True) as watching,
    ):
        await saver.setup()
        graph = build_graph().compile(checkpointer=saver)
        config = {"configurable": {"thread_id": thread}, "recursion_limit": 2 * turns + 10}
        begun = (await graph.aget_state(config)).values
        first = {"messages": [{"role": "user", "content": script.prompt(turns)}]}
        began = mark = time.perf_counter()
        done, took = 0, []
        async for update in graph.astream(None if begun else first, config):
            if "tools" not in update:
                continue
            now = time.perf_counter()
            done, took = done + 1, [*took[1 - WINDOW :], now - mark]
            if done in checkpoints:
                size = (await (await watching.execute(SIZE)).fetchone())[0]
                row = {
                    "turns": done,
                    "database_bytes": int(size),
                    "wall_s": round(now - began, 2),
                    "turn_p50_ms": round(median(took) * 1000, 2),
                }
                print(json.dumps(row), flush=True)
            mark = time.perf_counter()
    print(json.dumps({"outcome": "completed"}), flush=True)


if __name__ == "__main__":
    database, thread, turns, *checkpoints = sys.argv[1:]
    asyncio.run(main(database, thread, int(turns), {int(one) for one in checkpoints}))
