"""LangGraph on Temporal, as the README of `temporalio-langgraph` and its ReAct sample set it up."""

from datetime import timedelta

from temporalio import workflow
from temporalio.contrib.pydantic import pydantic_data_converter

with workflow.unsafe.imports_passed_through():
    from peers import script
    from peers.langgraph_agent import build_graph
    from temporalio.langgraph import LangGraphPlugin, graph


@workflow.defn(name="Peer")
class Peer:
    """One agent run."""

    @workflow.run
    async def run(self, turns: int) -> int:
        """Run to the end of the script; the steps are limited by default."""
        given = {"messages": [{"role": "user", "content": script.prompt(turns)}]}
        limit = {"recursion_limit": 2 * turns + 10}
        result = await graph("builder").compile().ainvoke(given, config=limit)
        return len(result["messages"])


BUILDER = build_graph(execute_in="activity", start_to_close_timeout=timedelta(seconds=30))
CLIENT = {"data_converter": pydantic_data_converter}
WORKER = {"workflows": [Peer], "plugins": [LangGraphPlugin(graphs={"builder": BUILDER})]}
