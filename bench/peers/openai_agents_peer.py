"""OpenAI Agents on Temporal, as the README of `temporalio-openai-agents` sets it up, its model scripted."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.openai_agents import ModelActivityParameters, OpenAIAgentsPlugin
from temporalio.openai_agents.workflow import activity_as_tool

with workflow.unsafe.imports_passed_through():
    from agents import Agent, Model, ModelProvider, ModelResponse, Runner, Usage
    from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText
    from peers import script


@activity.defn
async def bash(command: str) -> str:
    """Run a command in the workspace."""
    return await script.run_command(command)


class ScriptedModel(Model):
    """Plays the script; the extension point that the Agents SDK has for other vendors."""

    async def get_response(self, *given: Any, **named: Any) -> ModelResponse:
        """Give the next reply."""
        items = named["input"] if "input" in named else given[1]
        following = await script.next_turn(_texts(items))
        if following is None:
            return _response([_message("All turns are done.")])
        turn, turns = following
        call = ResponseFunctionToolCall(
            arguments=_arguments(turn, turns),
            call_id=f"call_{turn}",
            id=f"fc_{turn}",
            name="bash",
            type="function_call",
            status="completed",
        )
        return _response([_message(script.said(turn, turns)), call])

    def stream_response(self, *given: Any, **named: Any) -> AsyncIterator[Any]:
        """Not asked for here."""
        raise NotImplementedError


class ScriptedProvider(ModelProvider):
    """Gives the scripted model under every name."""

    def get_model(self, model_name: str | None) -> Model:
        """Give the model."""
        return ScriptedModel()


def _arguments(turn: int, turns: int) -> str:
    return json.dumps({"command": script.command(turn, turns)})


def _texts(items: str | Sequence[Any]) -> list[str]:
    if isinstance(items, str):
        return [items]
    found = [item.get("output") or item.get("content") for item in items]
    return [text for text in found if isinstance(text, str)]


def _message(text: str) -> ResponseOutputMessage:
    content = ResponseOutputText(text=text, annotations=[], type="output_text")
    return ResponseOutputMessage(
        id="msg", content=[content], role="assistant", status="completed", type="message"
    )


def _response(output: list[Any]) -> ModelResponse:
    return ModelResponse(output=output, usage=Usage(), response_id=None)


@workflow.defn(name="Peer")
class Peer:
    """One agent run."""

    @workflow.run
    async def run(self, turns: int) -> str:
        """Run to the end of the script."""
        agent = Agent(
            name="Builder",
            instructions=script.INSTRUCTIONS,
            tools=[activity_as_tool(bash, start_to_close_timeout=timedelta(seconds=10))],
        )
        result = await Runner.run(agent, input=script.prompt(turns), max_turns=turns + 10)
        return str(result.final_output)


CLIENT = {
    "plugins": [
        OpenAIAgentsPlugin(
            model_params=ModelActivityParameters(start_to_close_timeout=timedelta(seconds=30)),
            model_provider=ScriptedProvider(),
        )
    ]
}
WORKER = {"workflows": [Peer], "activities": [bash]}
