"""The agent as LangGraph's own examples build it: a model node, a tools node, messages as the state."""

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage, convert_to_messages
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph import END, START, MessagesState, StateGraph
from peers import script


class ScriptedChatModel(BaseChatModel):
    """Plays the script behind LangChain's own interface."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, *given: Any, **named: Any) -> ChatResult:
        raise NotImplementedError

    async def _agenerate(self, messages: list[BaseMessage], *given: Any, **named: Any) -> ChatResult:
        following = await script.next_turn(str(one.content) for one in messages)
        message = AIMessage("All turns are done.")
        if following is not None:
            turn, turns = following
            call = {"name": "bash", "args": {"command": script.command(turn, turns)}, "id": f"call_{turn}"}
            message = AIMessage(script.said(turn, turns), tool_calls=[call])
        return ChatResult(generations=[ChatGeneration(message=message)])


async def agent(state: MessagesState) -> dict[str, Any]:
    """Ask the model; over Temporal the messages arrive as plain values."""
    return {"messages": [await ScriptedChatModel().ainvoke(convert_to_messages(state["messages"]))]}


async def tools(state: MessagesState) -> dict[str, Any]:
    """Run the calls of the last reply."""
    last = convert_to_messages(state["messages"])[-1]
    assert isinstance(last, AIMessage)
    return {
        "messages": [
            ToolMessage(await script.run_command(call["args"]["command"]), tool_call_id=call["id"])
            for call in last.tool_calls
        ]
    }


async def should_continue(state: MessagesState) -> str:
    """Go to the tools while the model calls them; async, as the workflow has no threads."""
    last = convert_to_messages(state["messages"])[-1]
    return "tools" if isinstance(last, AIMessage) and last.tool_calls else END


def build_graph(**metadata: Any) -> StateGraph[Any, Any, Any, Any]:
    """Draw the graph; `metadata` is what the Temporal plugin wants to know of a node."""
    drawn = StateGraph(MessagesState)
    drawn.add_node("agent", agent, metadata=dict(metadata))
    drawn.add_node("tools", tools, metadata=dict(metadata))
    drawn.add_edge(START, "agent")
    drawn.add_conditional_edges("agent", should_continue)
    drawn.add_edge("tools", "agent")
    return drawn
