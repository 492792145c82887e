"""LangGraph with its own Postgres checkpointer and no Temporal, as its documentation sets it up.

`python -m peers.langgraph_postgres DATABASE THREAD TURNS` plays one conversation and prints what it left.
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
WRITTEN = """SELECT coalesce((SELECT sum(octet_length(blob)) FROM checkpoint_blobs), 0)
    + coalesce((SELECT sum(octet_length(blob)) FROM checkpoint_writes), 0)
    + (SELECT sum(octet_length(checkpoint::text) + octet_length(metadata::text)) FROM checkpoints)"""
"""What was written, before Postgres compresses it: the scripted outputs are all alike, real ones are not."""
SIZE = """SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c
    WHERE c.relkind = 'r' AND c.relname LIKE 'checkpoint%'"""
CLEAR = "TRUNCATE checkpoints, checkpoint_blobs, checkpoint_writes"


async def play(database: str, thread: str, turns: int) -> dict[str, float]:
    """Play the conversation, or its rest; the default durability writes behind, and the end waits for it."""
    took: list[float] = []
    async with AsyncPostgresSaver.from_conn_string(database) as saver:
        await saver.setup()
        graph = build_graph().compile(checkpointer=saver)
        config = {"configurable": {"thread_id": thread}, "recursion_limit": 2 * turns + 10}
        begun = (await graph.aget_state(config)).values
        first = {"messages": [{"role": "user", "content": script.prompt(turns)}]}
        began = mark = time.perf_counter()
        async for update in graph.astream(None if begun else first, config):
            if "tools" in update:
                now = time.perf_counter()
                took, mark = [*took[1 - WINDOW :], now - mark], now
    return {
        "wall_s": round(time.perf_counter() - began, 2),
        "turn_p50_ms": round(median(took or [0]) * 1000, 2),
    }


async def main(database: str, thread: str, turns: int) -> None:
    """Play, then measure and clear the tables."""
    played = await play(database, thread, turns)
    async with await AsyncConnection.connect(database, autocommit=True) as after:
        size = (await (await after.execute(SIZE)).fetchone())[0]
        written = (await (await after.execute(WRITTEN)).fetchone())[0]
        await after.execute(CLEAR)
    left = {"database_bytes": int(size), "written_bytes": int(written)}
    print(json.dumps({"turns": turns, **left, **played}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
