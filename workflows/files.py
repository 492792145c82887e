"""Payloads of the workspace: sandboxes, snapshots, and the proof in a fresh sandbox."""

from datetime import datetime
from typing import Literal

from workflows.payload import Payload

SLEEP = "sleep"
"""The reason of a snapshot that a pause follows: it stops what runs in the background first."""


class SandboxRef(Payload):
    """Where the work happens. A cache: it may vanish, and its generation fences what it wrote."""

    sandbox_id: str
    """As the provider named it."""
    generation: int
    """Counts the sandboxes of a build; every write carries it."""
    home: str
    """Absolute path of the home directory in the sandbox."""
    workspace: str
    """Absolute real path of the workspace in the sandbox."""
    run_ends: datetime | None = None
    """When the provider ends its longest continuous run, unless it is paused and resumed before."""
    identity: str = ""
    """Of the runner's folder in it: one that was deleted and made anew has forgotten what ran."""


class CreateSandbox(Payload):
    """Asks for a sandbox, empty or restored."""

    build_id: str
    generation: int
    role: Literal["build", "check"] = "build"
    restore_point: int | None = None
    """Restored into it; none: an empty workspace."""
    source_only: bool = False
    """Leave caches (node_modules, .venv, …) out, as the checks do."""
    tell_outage: bool = False
    """Fail as `Unrestored` where the files cannot be had for a minute, so that people are told."""


class SandboxStep(Payload):
    """Asks something of one sandbox of a build."""

    build_id: str
    sandbox: SandboxRef


class ConnectedSandbox(Payload):
    """The answer to a connect."""

    intact: bool
    """False: the sandbox is gone, old or another one; restore."""
    reason: str = ""
    """Why it was found lost."""
    run_ends: datetime | None = None
    """When the provider ends the run that began now."""


class TakeSnapshot(Payload):
    """Asks for everything captured so far to be uploaded and committed."""

    build_id: str
    project: str
    sandbox: SandboxRef
    turn: int
    head: int
    """Transcript head that this state of the files belongs to."""
    unended: int = 0
    """Calls of that reply, its last ones, that had not ended when it was asked for."""
    parent: int | None = None
    """The restore point it builds on."""
    reason: str = "turn"
    """call, turn, phase, sleep, rewind, end."""
    full_scan: bool = False
    """Hash every file first, as before sleep and at the end."""
    captured: int = 0
    """Number of the newest capture in this sandbox that is to be in it."""
    phase: str = ""
    """Under way; the newest restore point of each is kept."""
    note: str = ""
    """What the model is yet to be told of these files: calls that a lost sandbox undid."""
    recapture: bool = False
    """Capture first, as what the last call changed could not be captured."""
    tell_outage: bool = False
    """Fail as `Unsaved` where it cannot be done for a minute, so that people are told; else wait it out."""


class RestorePoint(Payload):
    """A committed state of the files."""

    restore_point: int
    """Row id."""
    key: str = ""
    """Manifest key in the bucket."""
    files: int = 0
    changed: int = 0
    """Entries that differ from the parent."""
    bytes: int = 0
    """Uploaded, bytes."""
    omitted: tuple[str, ...] = ()
    """Paths over the limits, told to the model."""


class ProofStep(Payload):
    """Asks for a step of the proof in the check sandbox."""

    build_id: str
    sandbox: SandboxRef
    attempt: int
    """Counts the proofs of a build."""
    checks: tuple[str, ...] = ()
    start: str = ""


class ServePreview(Payload):
    """Asks for a finished build's app to be served again."""

    workflow_id: str


class ProofReport(Payload):
    """What a step of the proof found."""

    passed: bool
    summary: str = ""
    """For people and the Web UI, at most 200 characters."""
    report: str = ""
    """For the model, at most 4,000 characters."""
    preview_url: str = ""
    """Set by the step that started the app."""
