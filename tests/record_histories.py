"""Records the histories that `tests/replay` replays: `python -m tests.record_histories [NAME…]`.

Run it only when the order of a build's commands is meant to change, and builds that run now are let end
or are told apart by `workflow.patched`. Knows fakes only: no secret, no machine's name or path is written.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from starter.local.java import time_skipping_server
from tests.conftest import register_search_attributes
from tests.fakes import Gate, World, acts, call, done, lost, passing, refused
from tests.handles import cancelled, ready, until, until_alone, until_event
from tests.histories import chain
from tests.workflow.conftest import Bench, working
from workflows.errors import FailureType
from workflows.files import ProofReport
from workflows.models import BuildStatus
from workflows.turns import Refusal

FOLDER = Path(__file__).parents[1] / "histories"
SCRUBBED = {"identity": "worker", "stackTrace": "", "buildId": "", "binaryChecksum": ""}
"""Fields that would name a machine, a process or a path, and what stands in their place."""

Scenario = Callable[[Bench, World], Awaitable[WorkflowHandle]]


async def plain(on: Bench, world: World) -> WorkflowHandle:
    """Reads side by side, changes in order, a failed proof, READY."""
    turn = acts(call("read_file", "a"), call("grep", "b"), call("bash", "one"), call("write_file", "c"))
    world.replies = iter([turn, done(), acts(call("bash", "mend")), done()])
    world.proofs = iter([ProofReport(passed=False, summary="1 failed", report="no")])
    handle = await on.start()
    await ready(handle)
    return handle


async def woken(on: Bench, world: World) -> WorkflowHandle:
    """Out of money, asleep, woken early by a signal."""
    midnight = await on.environment.get_current_time() + timedelta(days=300)
    world.replies = iter([acts(call("bash", "one")), refused(Refusal.SPENT, midnight), done()])
    handle = await on.start()
    with on.environment.auto_time_skipping_disabled():
        await world.shows("SLEEPING")
        await handle.signal("wake")
        await ready(handle)
    return handle


async def continued(on: Bench, world: World) -> WorkflowHandle:
    """Three runs."""
    world.replies = iter([*(acts(call("bash", f"{n}")) for n in range(4)), done()])
    handle = await on.start({"idea": "x", "turns_per_run": 2})
    await ready(handle)
    return handle


async def lost_sandbox(on: Bench, world: World) -> WorkflowHandle:
    """Two calls side by side notice a loss while an upload is in flight."""
    reads = (call("read_file", "a"), call("grep", "b"))
    world.replies = iter([acts(call("bash", "one")), acts(*reads), done()])
    world.lose_calls = {one.tool_use_id for one in reads}
    handle = await on.start()
    await ready(handle)
    return handle


async def cancelled_build(on: Bench, world: World) -> WorkflowHandle:
    """Cancelled in the middle of a tool call."""
    gate = Gate()
    world.gates = {"run_tool": [gate]}
    world.replies = iter([acts(call("bash", "one"))])
    handle = await on.start()
    await gate.reached.wait()
    await until_alone(handle)
    await handle.cancel()
    await until_event(handle, "activity_task_cancel_requested")
    gate.opened.set()
    await cancelled(handle)
    return handle


async def interrupted(on: Bench, world: World) -> WorkflowHandle:
    """The founder speaks while a command runs, and again while the model thinks."""
    act, think = Gate(), Gate()
    world.gates = {"run_tool": [act], "call_model": [None, think]}
    world.replies = iter([acts(call("bash", "one"), call("bash", "two")), done()])
    handle = await on.start()
    for gate in (act, think):
        await gate.reached.wait()
        await handle.signal("steer", "use blue")
    await ready(handle)
    return handle


async def unproven(on: Bench, world: World) -> WorkflowHandle:
    """The founder speaks while the proof installs, and pauses while it checks.

    `unproven-before` is of the same signals at a time when only a stop reached a proof: both steps ended.
    """
    install, check = Gate(), Gate()
    world.gates = {"install_dependencies": [install], "run_checks": [check]}
    world.replies = iter([done(), done()])
    handle = await on.start()
    await install.reached.wait()
    await handle.signal("steer", "use blue")
    await check.reached.wait()
    await handle.signal("pause")
    await until(handle, "PAUSED")
    await handle.signal("resume")
    await ready(handle)
    return handle


async def changed(on: Bench, world: World) -> WorkflowHandle:
    """Asleep, it is given another model, a wrong amount of money and then a right one, which wakes it."""
    midnight = await on.environment.get_current_time() + timedelta(days=300)
    world.replies = iter([acts(call("bash", "one")), refused(Refusal.SPENT, midnight), done()])
    handle = await on.start()
    with on.environment.auto_time_skipping_disabled():
        await world.shows("SLEEPING")
        await handle.execute_update("set_model", "claude-haiku-5-5", id="another-model")
        with suppress(WorkflowUpdateFailedError):
            await handle.execute_update("add_budget", -5, id="less")
        await handle.execute_update("add_budget", 5_000_000, id="more")
        await ready(handle)
    return handle


async def rewound(on: Bench, world: World) -> WorkflowHandle:
    """Taken back while a command runs, and while the proof installs."""
    act, install = Gate(), Gate()
    world.gates = {"run_tool": [act], "install_dependencies": [install]}
    world.replies = iter([acts(call("bash", "one")), done(), done()])
    handle = await on.start()
    for gate in (act, install):
        await gate.reached.wait()
        await handle.execute_update("rewind", {"turn": 1}, result_type=BuildStatus)
    await ready(handle)
    return handle


async def limited(on: Bench, world: World) -> WorkflowHandle:
    """At its limit of tool calls: it goes back only once that was raised."""
    act = Gate()
    world.gates = {"run_tool": [act]}
    world.replies = iter([acts(call("bash", "one")), done()])
    handle = await on.start({"idea": "x", "max_tool_calls": 1})
    await act.reached.wait()
    with suppress(WorkflowUpdateFailedError):
        await handle.execute_update("rewind", {"turn": 1}, id="refused")
    await handle.execute_update("set_limit", {"max_tool_calls": 2})
    await handle.execute_update("rewind", {"turn": 1}, result_type=BuildStatus)
    await ready(handle)
    return handle


async def retried(on: Bench, world: World) -> WorkflowHandle:
    """Activities that fail in passing."""
    world.faults = {
        name: [passing()] for name in ("prepare_build", "call_model", "run_tool", "take_snapshot")
    }
    world.replies = iter([acts(call("bash", "one")), done()])
    handle = await on.start()
    await ready(handle)
    return handle


async def renewed(on: Bench, world: World) -> WorkflowHandle:
    """The provider's longest run ends soon: paused and resumed between turns."""
    now = await on.environment.get_current_time()
    world.run_ends = iter([now + timedelta(minutes=1), now + timedelta(days=1)])
    world.replies = iter([acts(call("bash", "one")), done()])
    handle = await on.start()
    await ready(handle)
    return handle


async def dear(on: Bench, world: World) -> WorkflowHandle:
    """Asleep, the model is changed and it looks at once; too dear for any day, it asks and is resumed.

    `dear-before` is of a time when it slept on under its new model, and ended where it asks now.
    """
    midnight = await on.environment.get_current_time() + timedelta(days=300)
    world.replies = iter([refused(Refusal.SPENT, midnight), refused(Refusal.TOO_DEAR), done()])
    handle = await on.start()
    with on.environment.auto_time_skipping_disabled():
        await world.shows("SLEEPING")
        await handle.execute_update("set_model", "claude-haiku-5-5")
        await world.shows("WAITING_FOR_YOU")
        await handle.signal("resume")
        await ready(handle)
    return handle


async def undone(on: Bench, world: World) -> WorkflowHandle:
    """A sandbox lost between the last call and the proof: the model is told before its work is proven."""
    world.faults = {"take_snapshot": [lost()]}
    world.replies = iter([acts(call("bash", "one")), done(), acts(call("bash", "again")), done()])
    handle = await on.start()
    await ready(handle)
    return handle


async def unaware(on: Bench, world: World) -> WorkflowHandle:
    """A sandbox lost under the upload, as the model asks for more: its call is refused, the next run."""
    world.faults = {"take_snapshot": [lost()]}
    world.replies = iter(
        [acts(call("bash", "one")), acts(call("bash", "two")), acts(call("bash", "one")), done()]
    )
    handle = await on.start()
    await ready(handle)
    return handle


async def outrun(on: Bench, world: World) -> WorkflowHandle:
    """A proof that outlasts its sandbox's run, then one that passes."""
    now = await on.environment.get_current_time()
    world.run_ends = iter([now + timedelta(days=9), now])
    world.faults = {"install_dependencies": [lost()]}
    world.replies = iter([done(), done()])
    handle = await on.start()
    await ready(handle)
    return handle


async def heeded(on: Bench, world: World) -> WorkflowHandle:
    """The founder speaks while the model is asked, whose key is refused in the same instant."""
    think = Gate(deaf=True)
    needed = ApplicationError("Mend the key.", type=FailureType.PERSON_NEEDED, non_retryable=True)
    world.gates, world.faults = {"call_model": [think]}, {"call_model": [needed]}
    handle = await on.start()
    await think.reached.wait()
    await handle.signal("steer", "use blue")
    await until_event(handle, "activity_task_cancel_requested")
    think.opened.set()
    await ready(handle)
    return handle


SCENARIOS: dict[str, Scenario] = {
    "plain": plain,
    "woken": woken,
    "continued": continued,
    "lost": lost_sandbox,
    "cancelled": cancelled_build,
    "interrupted": interrupted,
    "unproven": unproven,
    "rewound": rewound,
    "limited": limited,
    "retried": retried,
    "changed": changed,
    "dear": dear,
    "renewed": renewed,
    "undone": undone,
    "unaware": unaware,
    "outrun": outrun,
    "heeded": heeded,
}


def scrub(value: Any) -> Any:
    """Replace what names a machine, a process or a path."""
    if isinstance(value, dict):
        return {key: SCRUBBED.get(key, scrub(each)) for key, each in value.items()}
    return [scrub(each) for each in value] if isinstance(value, list) else value


async def record(name: str, scenario: Scenario, environment: WorkflowEnvironment) -> None:
    """Play a scenario and write the history of each of its runs."""
    world = World()
    async with working(environment, world) as on:
        handle = await scenario(on, world)
        runs = [history async for history in chain(on.client, handle)]
    for number, history in enumerate(runs, start=1):
        file = FOLDER / (f"{name}-{number}.json" if len(runs) > 1 else f"{name}.json")
        text = json.dumps(scrub(json.loads(history.to_json())), indent=1)
        await asyncio.to_thread(file.write_text, text + "\n")
        print(f"{file.name}: {len(history.events)} events", file=sys.stderr)  # noqa: T201 a command line


async def main() -> None:
    """Record the scenarios named, else all, each on a server of its own: the clock is the server's."""
    program = await time_skipping_server()
    for name in sys.argv[1:] or SCENARIOS:
        environment = await WorkflowEnvironment.start_time_skipping(
            data_converter=pydantic_data_converter, test_server_existing_path=str(program)
        )
        async with environment:
            await register_search_attributes(environment.client)
            await record(name, SCENARIOS[name], environment)


if __name__ == "__main__":
    asyncio.run(main())
    sys.stderr.flush()
    os._exit(0)
