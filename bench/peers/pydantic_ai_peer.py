"""pydantic-ai on Temporal, as its documentation sets it up: a capability and a plugin."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from peers import script
    from pydantic_ai import Agent, ModelMessage, ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.durable_exec.temporal import PydanticAIPlugin, PydanticAIWorkflow, TemporalDurability
    from pydantic_ai.messages import ModelRequest, ToolReturnPart, UserPromptPart
    from pydantic_ai.models.function import AgentInfo, FunctionModel
    from pydantic_ai.usage import UsageLimits


async def play(messages: list[ModelMessage], _info: AgentInfo) -> ModelResponse:
    """Be the model."""
    parts = [part for message in messages if isinstance(message, ModelRequest) for part in message.parts]
    texts = [str(part.content) for part in parts if isinstance(part, UserPromptPart | ToolReturnPart)]
    following = await script.next_turn(texts)
    if following is None:
        return ModelResponse(parts=[TextPart("All turns are done.")])
    turn, turns = following
    call = ToolCallPart("bash", {"command": script.command(turn, turns)}, tool_call_id=f"call_{turn}")
    return ModelResponse(parts=[TextPart(script.said(turn, turns)), call])


agent = Agent(
    FunctionModel(play),
    instructions=script.INSTRUCTIONS,
    name="builder",
    capabilities=[TemporalDurability()],
)


@agent.tool_plain
async def bash(command: str) -> str:
    """Run a command in the workspace."""
    return await script.run_command(command)


@workflow.defn(name="Peer")
class Peer(PydanticAIWorkflow):
    """One agent run."""

    __pydantic_ai_agents__ = [agent]  # noqa: RUF012 - as the documentation has it

    @workflow.run
    async def run(self, turns: int) -> str:
        """Run to the end of the script; the default limit is 50 requests."""
        result = await agent.run(script.prompt(turns), usage_limits=UsageLimits(request_limit=None))
        return result.output


CLIENT = {"plugins": [PydanticAIPlugin()]}
WORKER = {"workflows": [Peer]}
