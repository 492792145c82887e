"""The nine tools: runs one call at most once, ever, and writes its one result.

Dispatches to the runner, the browser and the rows; knows no provider. The model's faults become error
results; a lost sandbox is raised, as its failure must never read like a command's output.
"""

import asyncio
import base64
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from temporalio import activity
from typing_extensions import override

from activities.captures import Captures
from activities.events import EventStream
from activities.failures import classified
from activities.heartbeat import heartbeating
from activities.outcomes import outcome_of
from activities.progress import Progress
from activities.screenshots import NoBrowser, PageUnreachable, Screenshots
from activities.tool_results import (
    CUT_OFF,
    CUT_SHORT,
    DISK_FULL,
    INTERRUPTED,
    NO_TIME,
    Result,
    changed,
    clean,
    shorten,
)
from activities.transcript import ToolResult, Transcript
from activities.workspace import QUICK, RunnerFault, Workspace
from workflows import ports
from workflows.catalogue import (
    Bash,
    Document,
    EditFile,
    InvalidToolCall,
    Narrate,
    TakeScreenshot,
    ToolInput,
    ToolName,
    WriteFile,
    parse_call,
)
from workflows.payload import PREVIEW_CHARS
from workflows.turns import ToolOutcome, ToolRun

CAPTURE_SECONDS: Final = 120
"""What a capture after a changing call may take on top of the call itself, seconds."""
FILE_SECONDS: Final = 60
"""What a file tool or a search may take, seconds."""
DEFAULT_PORT: Final = "8000"
"""PORT of every command, so that an app need not choose one."""
LOOKING: Final = frozenset({ToolName.READ_FILE, ToolName.GREP, ToolName.GLOB, ToolName.TAKE_SCREENSHOT})
"""Tools that only look: when someone speaks they are dropped midway, as nothing has to be undone or told."""
DROP_SECONDS: Final = 0.5
"""How long a call that is dropped may take to close what it opened."""
INTERRUPT_AGAIN: Final = 1.0
"""Seconds after which a command that had not begun when it was interrupted is interrupted again."""


class Tools(ports.Tools):
    """The tools over the runner."""

    def __init__(
        self,
        workspace: Workspace,
        transcript: Transcript,
        *,
        captures: Captures,
        screenshots: Screenshots,
        progress: Progress,
        events: EventStream,
    ) -> None:
        self._workspace = workspace
        self._transcript = transcript
        self._captures = captures
        self._screenshots = screenshots
        self._progress = progress
        self._events = events

    @override
    @activity.defn
    async def run_tool(self, request: ToolRun) -> ToolOutcome:
        """Run one tool call at most once, ever; write its one result.

        Raises SandboxLost when the sandbox is gone or replaced, the provider's passing fault otherwise.
        """
        async with heartbeating(), classified():
            if kept := await self._transcript.result(request.head, request.call.tool_use_id):
                return outcome_of(kept, request.call, generation=request.sandbox.generation)
            result = await self._run_to_an_end(request)
            kept = await self._write(request, result)
            await self._tell(request, kept)
        return outcome_of(kept, request.call, generation=request.sandbox.generation)

    async def _run_to_an_end(self, request: ToolRun) -> Result:
        """Run the call; once someone interrupts it is cut short, and what it gave until then kept."""
        running = asyncio.create_task(self._run(request))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if not _is_interrupted():
                running.cancel()
                await asyncio.wait({running})
                raise
        gave = await self._cut_short(request, running)
        return gave._replace(text=f"{CUT_SHORT}\n{gave.text}", is_error=True, interrupted=True)

    async def _cut_short(self, request: ToolRun, running: asyncio.Task[Result]) -> Result:
        """Drop a call that only looks; kill a command; let a write end, which is one rename."""
        if request.call.tool in LOOKING:
            running.cancel()
            await asyncio.wait({running}, timeout=DROP_SECONDS)
            return Result("(nothing)") if not running.done() or running.cancelled() else running.result()
        while request.call.tool == ToolName.BASH and not running.done():
            await self._workspace.ask(
                request.sandbox, "interrupt", {"claim": request.call.tool_use_id}, within=QUICK
            )
            await asyncio.wait({running}, timeout=INTERRUPT_AGAIN)
        return await running

    async def _run(self, request: ToolRun) -> Result:
        if request.refuse:
            return await self._refuse(request)
        given = await self._transcript.tool_input(request.head, request.call.tool_use_id)
        try:
            call = parse_call(request.call.tool, given)
        except InvalidToolCall as error:
            return Result(str(error), is_error=True)
        try:
            if isinstance(call, (WriteFile, EditFile, Bash)) and (
                refusal := await self._begin(request, call)
            ):
                return refusal
            return await self._dispatch(request, call)
        except RunnerFault as fault:
            if fault.non_retryable:
                raise
            if fault.begun:
                text = CUT_OFF.format(why=fault.message)
                return Result(text, is_error=True, interrupted=True, uncaptured=True)
            why = DISK_FULL if fault.kind == "disk_full" else fault.message
            return Result(f"The sandbox could not do it: {why}", is_error=True)

    async def _refuse(self, request: ToolRun) -> Result:
        """Give the refusal; a call that a dead worker began is ended, and not said to be unbegun."""
        began = await self._transcript.began(request.head, request.call.tool_use_id)
        if began not in {None, request.sandbox.generation}:
            return Result(INTERRUPTED, is_error=True, interrupted=True)
        if began is not None and request.call.tool == ToolName.BASH:
            claim = {"claim": request.call.tool_use_id}
            await self._workspace.ask(request.sandbox, "interrupt", claim, within=QUICK)
        return Result(request.refuse, is_error=True)

    async def _begin(self, request: ToolRun, call: WriteFile | EditFile | Bash) -> Result | None:
        """Note the start; give what stands for a call that began in a lost sandbox, or has no time to end."""
        seconds, generation = _seconds(call), request.sandbox.generation
        needed = timedelta(seconds=seconds + CAPTURE_SECONDS)
        # Before the note: a sandbox that is gone by now has not begun it.
        left = await self._workspace.client.lasts(request.sandbox.sandbox_id, needed)
        earlier = await self._transcript.note_start(
            request.head, request.call.tool_use_id, generation=generation
        )
        if earlier is None and left < needed:
            text = NO_TIME.format(allowed=seconds, left=max(0, int(left.total_seconds()) - CAPTURE_SECONDS))
            return Result(text, is_error=True)
        if earlier in {None, generation}:
            return None
        return Result(INTERRUPTED, is_error=True, interrupted=True)

    async def _dispatch(self, request: ToolRun, call: ToolInput) -> Result:
        match call:
            case WriteFile() | EditFile() | Bash():
                return await self._change(request, call)
            case TakeScreenshot():
                return await self._look(request, call)
            case Narrate():
                return await self._narrate(request, call)
            case Document():
                return await self._document(request, call)
            case _:
                return await self._read(request, call)

    async def _change(self, request: ToolRun, call: WriteFile | EditFile | Bash) -> Result:
        """Run a changing call under its claim; a second attempt gets the first one's answer."""
        seconds = _seconds(call)
        payload = {
            "claim": request.call.tool_use_id,
            "tool": request.call.tool,
            "input": call.model_dump(mode="json"),
            "timeout_seconds": seconds,
            "environment": {"PORT": DEFAULT_PORT},
            "capture": request.capture,
            "identity": request.sandbox.identity,
            "again": activity.info().attempt > 1,
            **self._captures.fields(request.sandbox),
        }
        within = timedelta(seconds=seconds + CAPTURE_SECONDS)
        answer = await self._workspace.ask(request.sandbox, "call", payload, within=within)
        capture: Mapping[str, Any] = answer.get("capture") or {}
        self._captures.keep(
            request.sandbox, number=int(capture.get("number", 0)), pending=answer.get("pending")
        )
        return changed(answer)

    async def _read(self, request: ToolRun, call: ToolInput) -> Result:
        answer = await self._workspace.ask(
            request.sandbox,
            request.call.tool,
            call.model_dump(mode="json"),
            within=timedelta(seconds=FILE_SECONDS),
        )
        result = Result(str(answer["text"]), is_error=bool(answer.get("is_error")))
        return await self._show(request, result, answer["image"]) if answer.get("image") else result

    async def _show(self, request: ToolRun, result: Result, image: Mapping[str, Any]) -> Result:
        """Add an image that was read to the result, kept as a screenshot is."""
        size = (int(image["width"]), int(image["height"]))
        shot = await self._screenshots.keep(request.build_id, "image", size, base64.b64decode(image["data"]))
        if shot is None:
            return Result(f"{result.text}: it cannot be shown.", is_error=True)
        return result._replace(text=f"{result.text}, kept as {shot.key}", images=(shot,))

    async def _look(self, request: ToolRun, call: TakeScreenshot) -> Result:
        try:
            view = await self._screenshots.take(
                request.build_id, request.sandbox, port=call.port, path=call.path
            )
        except (NoBrowser, PageUnreachable) as error:
            return Result(str(error), is_error=True)
        return Result(view.text, images=view.shots)

    async def _narrate(self, request: ToolRun, call: Narrate) -> Result:
        publish, again = self._events.publish, False
        if call.phase_name:
            ended = await self._progress.begin_phase(request.build_id, call.phase_name)
            for name in ended or ():
                await publish(request.build_id, "gsd.phase.completed", phase_name=name)
            again = ended is None
            if not again:
                await publish(request.build_id, "gsd.phase.started", phase_name=call.phase_name)
        await publish(request.build_id, "agent.thinking", text=call.message)
        return Result("Told.", phase=call.phase_name, phase_again=again, plan_item=call.plan_item)

    async def _document(self, request: ToolRun, call: Document) -> Result:
        await self._progress.write_document(
            request.build_id,
            section=call.section,
            content=clean(call.content),
            unless_answered=(request.head, request.call.tool_use_id),
        )
        await self._events.publish(request.build_id, "documentation.updated", section=call.section)
        return Result(f"Section {call.section!r} is written.")

    async def _write(self, request: ToolRun, result: Result) -> ToolResult:
        cleaned = result._replace(text=clean(shorten(result.text)))
        return await self._transcript.write_result(
            request.head,
            request.call.tool_use_id,
            content=cleaned.content,
            is_error=result.is_error,
            generation=request.sandbox.generation,
            preview=cleaned.text[:PREVIEW_CHARS],
            effects=result.effects,
        )

    async def _tell(self, request: ToolRun, kept: ToolResult) -> None:
        await self._events.publish(
            request.build_id,
            "agent.tool.called",
            tool_name=request.call.tool,
            tool_label=request.call.label,
            tool_summary=kept.preview,
        )


def _seconds(call: WriteFile | EditFile | Bash) -> int:
    return call.timeout_seconds if isinstance(call, Bash) else FILE_SECONDS


def _is_interrupted() -> bool:
    """Tell whether the workflow cancelled this attempt, and not a worker that stops or a newer attempt."""
    details = activity.cancellation_details()
    return details is not None and details.cancel_requested
