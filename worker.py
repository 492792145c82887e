"""The composition root: settings → clients → adapters → worker, and a graceful stop."""

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, cast

from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.branches import Branches
from activities.builds import Builds
from activities.captures import Captures
from activities.checks import Checks
from activities.database import open_database, upgrade_database
from activities.events import EventStream
from activities.heartbeat import BEAT
from activities.isolation import Unisolated, check_isolation
from activities.janitor import Janitor
from activities.last_runs import namespace_id
from activities.ledger import Ledger
from activities.model import Model
from activities.objects import Objects
from activities.previews import Previews
from activities.progress import Progress
from activities.provider import open_client
from activities.purchases import Purchases
from activities.restore import Restorer
from activities.restore_points import RestorePoints
from activities.retention import Retention
from activities.rewinds import Rewinds
from activities.runner_archive import archive
from activities.sandbox import Sandboxes
from activities.sandbox_client import SandboxClient
from activities.sandbox_rows import SandboxRows
from activities.sandbox_time import SandboxTime
from activities.screenshots import Screenshots
from activities.settings import Settings
from activities.snapshots import Snapshots
from activities.stored_objects import StoredObjects
from activities.tools import Tools
from activities.transcript import Transcript
from activities.workspace import Workspace
from activities.wrong_settings import WrongSettings
from starter.attach import ROOT, TASK_QUEUE
from starter.cold_queries import ColdQueries
from starter.connect import connect
from starter.exits import run, until_told
from starter.janitor_schedule import keep_janitor
from starter.local.outside import outside_environment
from starter.search_attributes import check_search_attributes
from workflows import ports
from workflows.build import BuildWorkflow
from workflows.fairness import FairShares
from workflows.heartbeats import Heartbeats
from workflows.janitor import JanitorWorkflow
from workflows.options import HEARTBEAT
from workflows.preview import PreviewWorkflow
from workflows.unknown import UnknownWorkflow

Activity = Callable[..., Any]
log = logging.getLogger(__name__)

GRACE = timedelta(seconds=20)
"""How long running activities may finish after a stop; then they are cancelled, and retried elsewhere."""

STICKY = timedelta(seconds=3)
"""How long a step of a workflow waits for the worker that holds it in memory, before any other takes it.

Never longer than the heartbeat timeout: that, too, is how long a lost worker may hold a build up.
"""

WORKFLOW_TASKS = 5
"""Steps of workflows at once: when hundreds of builds wake at midnight, the others wait at the server, where
their time does not run; those that are taken share one core and must end within `options.WORKFLOW_TASK`."""

PURE_MODULES = tuple(
    f"workflows.{name}"
    for name in (
        "acting",
        "branches",
        "budget",
        "catalogue",
        "changing",
        "ending",
        "errors",
        "fairness",
        "files",
        "guard",
        "heartbeats",
        "journal",
        "leftovers",
        "models",
        "options",
        "payload",
        "ports",
        "proof",
        "requests",
        "rest",
        "rewinding",
        "saving",
        "state",
        "steering",
        "texts",
        "turns",
        "workspace",
    )
)
"""Passed through the workflow sandbox: re-imported for each build they would cost 1.8 MB a sleeper."""


class UnboundPort(Exception):
    """A bug of ours: an adapter does not register what its port promises; the build would hang on it."""


def bind(port: type, adapter: object) -> list[Activity]:
    """Give the activities of an adapter under exactly the names that its port promises.

    Raises UnboundPort for a method that is missing, not an activity, or registered by another name.
    """
    methods: list[Activity] = []
    for name, promised in inspect.getmembers(port, inspect.isfunction):
        if (wanted := _activity_name(promised)) is None:
            continue
        method = getattr(adapter, name, None)
        found = _activity_name(method) if method else None
        if method is None or found != wanted:
            raise UnboundPort(f"{type(adapter).__name__}.{name} registers as {found!r}, not {wanted!r}")
        methods.append(method)
    if not methods:
        raise UnboundPort(f"{port.__name__} promises no activity")
    return methods


def _activity_name(function: Activity) -> str | None:
    # The SDK has no public reader of what `activity.defn` left on a function.
    definition: object = getattr(function, "__temporal_activity_definition", None)
    return cast("str | None", getattr(definition, "name", None))


def workflow_runner() -> SandboxedWorkflowRunner:
    """The workflow sandbox, which every pure module passes through."""
    return ColdQueries(restrictions=SandboxRestrictions.default.with_passthrough_modules(*PURE_MODULES))


def build_worker(
    client: Client,
    activities: Sequence[Activity],
    *,
    heartbeat_timeout: timedelta = HEARTBEAT,
    **options: Any,
) -> Worker:
    """Make the worker of a build's workflow and activities; `options` are those of `Worker`."""
    settings: dict[str, Any] = {
        "task_queue": TASK_QUEUE,
        "graceful_shutdown_timeout": GRACE,
        "max_heartbeat_throttle_interval": BEAT,
        "default_heartbeat_throttle_interval": BEAT,
        "sticky_queue_schedule_to_start_timeout": min(STICKY, heartbeat_timeout),
        "max_concurrent_workflow_tasks": WORKFLOW_TASKS,
        "workflow_runner": workflow_runner(),
        "interceptors": [FairShares(), Heartbeats(heartbeat_timeout)],
        **options,
    }
    workflows = [BuildWorkflow, JanitorWorkflow, PreviewWorkflow, UnknownWorkflow]
    return Worker(client, workflows=workflows, activities=activities, **settings)


@asynccontextmanager
async def open_activities(settings: Settings, *, namespace_id: str = "") -> AsyncGenerator[list[Activity]]:
    """Make every client and adapter, and give their activities; clients are closed at the end.

    `namespace_id` is Temporal's own name of where the worker works, which each build's row keeps.
    """
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(open_database(settings))
        events = await stack.enter_async_context(EventStream.open(settings))
        objects = await stack.enter_async_context(Objects.open(settings))
        anthropic = await stack.enter_async_context(open_client(settings))
        transcript, ledger = Transcript(engine), Ledger(engine, events)
        purchases = Purchases(engine, transcript, settings)
        time = SandboxTime(engine, settings)
        workspace = Workspace(SandboxClient(settings, lengthened=time.lengthened), runner=archive()[1])
        points, captures, local = RestorePoints(engine), _captures(settings), settings.local_sandbox
        stored = StoredObjects(engine, objects)
        restorer = Restorer(workspace, objects, points, local_sandbox=local)
        screenshots, rows = Screenshots(objects, workspace), SandboxRows(engine)
        checks = Checks(workspace, screenshots, time=time)
        builds = Builds(
            engine,
            transcript=transcript,
            purchases=purchases,
            events=events,
            time=time,
            settings=settings,
            namespace_id=namespace_id,
        )
        sandboxes = Sandboxes(workspace, rows, restorer, time=time, settings=settings)
        model = Model(anthropic, transcript=transcript, purchases=purchases, ledger=ledger, events=events)
        snapshots = Snapshots(
            workspace, objects, points, restorer, stored=stored, captures=captures, local_sandbox=local
        )
        adapters: list[tuple[type, object]] = [
            (ports.Builds, builds),
            (ports.Rewinds, Rewinds(engine, Branches(engine, transcript), manifest=restorer.manifest)),
            (ports.Model, model),
            (
                ports.Tools,
                Tools(
                    workspace,
                    transcript,
                    captures=captures,
                    screenshots=screenshots,
                    progress=Progress(engine),
                    events=events,
                ),
            ),
            (ports.Ledger, ledger),
            (ports.Sandboxes, sandboxes),
            (ports.Snapshots, snapshots),
            (ports.Checks, checks),
            (ports.Retention, Retention(engine, stored)),
            (ports.Previews, Previews(engine, workspace, rows, checks=checks, sandboxes=sandboxes)),
            (
                ports.Janitor,
                Janitor(engine, builds=builds, purchases=purchases, sandboxes=sandboxes, time=time),
            ),
        ]
        yield [method for port, adapter in adapters for method in bind(port, adapter)]


def _captures(settings: Settings) -> Captures:
    return Captures(limits=settings.capture_limits, whole=settings.snapshot_full)


async def main() -> int:
    """Bring the database up to date and work until SIGINT or SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for chatty in ("httpx", "httpx2"):  # a line a request, whose addresses may be signed
        logging.getLogger(chatty).setLevel(logging.WARNING)
    settings = Settings.from_env()
    await check_isolation(settings)
    await upgrade_database(settings.database_url.get_secret_value())
    client = await connect(outside_environment(ROOT))
    await check_search_attributes(client)
    async with (
        open_activities(settings, namespace_id=await namespace_id(client)) as activities,
        build_worker(client, activities, heartbeat_timeout=settings.heartbeat_timeout),
    ):
        log.info("working on task queue %r as %s", TASK_QUEUE, client.identity)
        await keep_janitor(client)
        await until_told(asyncio.Event().wait())
        log.info("stopping; running activities have %s s", GRACE.seconds)
    return 0


if __name__ == "__main__":
    run(main(), told=(Unisolated, WrongSettings))
