import json
from datetime import UTC, date, datetime, timedelta
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from workflows import guard, ports, steering
from workflows.branches import Rewind, Rewound
from workflows.files import SandboxRef
from workflows.models import BuildRequest, PreparedBuild
from workflows.payload import Payload
from workflows.state import (
    FOUNDER,
    LONGEST_ENTRY,
    MOST_PHASES,
    NO_PHASE,
    OTHER_PHASES,
    TIMELINE_LENGTH,
    TRANSITIONS,
    BuildState,
    IllegalTransition,
    Rest,
    Stage,
    Status,
)
from workflows.turns import Balance, ToolCall

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PAIRS = [(before, after) for before in Status for after in Status]
LEGAL = [pair for pair in PAIRS if pair[1] in TRANSITIONS[pair[0]]]
ILLEGAL = [pair for pair in PAIRS if pair not in LEGAL]
CARRIED_LIMIT = 16 * 1024
"""Bytes of a state that is handed over, whatever the length of the build."""


# --- statuses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), LEGAL)
def test_a_legal_transition_moves(before: Status, after: Status):
    """The table decides, and only the status changes."""
    state = BuildState(status=before)
    state.move(after)

    assert BuildState(status=after) == state


@pytest.mark.parametrize(("before", "after"), ILLEGAL)
def test_an_illegal_transition_raises_and_changes_nothing(before: Status, after: Status):
    """The error names both, for whoever reads the failed task."""
    state = BuildState(status=before, turns=3)
    with pytest.raises(IllegalTransition, match=f"{before} may not be followed by {after}"):
        state.move(after)

    assert BuildState(status=before, turns=3) == state


def test_ready_is_only_reached_by_proof():
    """No status but CHECKS leads to it."""
    assert [Status.CHECKS] == [before for before, after in LEGAL if after is Status.READY]


def test_every_status_but_the_ends_can_fail():
    """A build can be given up at any point; once it has ended nothing follows."""
    ends = {Status.READY, Status.FAILED}

    assert set(Status) - ends == {before for before, after in LEGAL if after is Status.FAILED}
    assert not {before for before, _ in LEGAL} & ends


def test_a_failed_proof_leads_back_to_the_work():
    """From the installation as from the checks."""
    assert {Status.SCAFFOLD, Status.DEPS, Status.CHECKS} == {b for b, a in LEGAL if a is Status.CODE}


def test_a_rest_is_shown_in_place_of_the_stage():
    """People see why nothing happens; the stage is kept."""
    state = BuildState(status=Status.CODE)

    assert "CODE" == state.shown
    state.rest = Rest.SLEEPING
    assert "SLEEPING" == state.shown
    assert Status.CODE is state.status


def test_an_unknown_status_cannot_be_set():
    """Assignments are validated like input."""
    state = BuildState()
    with pytest.raises(ValidationError):
        state.status = "DONE"  # type: ignore[assignment]

    assert Status.STARTING is state.status


# --- a build's life -------------------------------------------------------------------------------------


def prepared(**more: Any) -> PreparedBuild:
    known = {"build_id": "b", "project": "shop", "user": "ada", "number": 3, "model": "m", "head": 9}
    return PreparedBuild(**known | more)


def test_a_build_begins_with_what_was_prepared_and_asked():
    """Names and numbers from the preparation, limits from the request."""
    state = BuildState(request=BuildRequest(idea="x", max_tool_calls=7, turns_per_run=2))
    state.begin(prepared(restore_point=5, checks=("pytest",), start="make serve"))

    assert ("b", "shop", "ada", "m", 9) == (
        state.build_id, state.project, state.user, state.model, state.head,
    )  # fmt: skip
    assert (7, 2) == (state.max_tool_calls, state.turns_per_run)
    assert (5, ("pytest",), "make serve") == (state.restore_point, state.checks, state.start)
    assert ("", "build_v0_3") == (BuildState().version, state.version)


def test_what_is_said_during_a_reply_waits_for_the_next():
    """Only what was sent is forgotten."""
    state = BuildState(notes=("one", "two"))
    sent = state.notes
    state.note("three")
    state.take_reply(11, sent)

    assert ("three",) == state.notes
    assert (11, 1, 1) == (state.head, state.turns, state.run_turns)


def test_the_timeline_keeps_the_newest():
    """Oldest first, and never longer than its limit."""
    state = BuildState()
    for n in range(TIMELINE_LENGTH + 5):
        state.log(NOON + timedelta(seconds=n), str(n))

    assert [str(n) for n in range(5, TIMELINE_LENGTH + 5)] == [entry.text for entry in state.timeline]


def test_a_line_of_the_timeline_is_cut():
    """A long failure text does not grow the state."""
    state = BuildState()
    state.log(NOON, "x" * 1_000)

    assert ["x" * LONGEST_ENTRY] == [entry.text for entry in state.timeline]


@pytest.mark.parametrize(("day", "stage"), [(1, Stage.WINDING_DOWN), (2, Stage.NORMAL)])
def test_each_day_is_told_of_its_end_anew(day: int, stage: Stage):
    """The first look at a new day forgets how near its end the last one was."""
    state = BuildState(stage=Stage.WINDING_DOWN, balance=Balance(day=date(2026, 3, 1), allowance=10))
    seen = Balance(day=date(2026, 3, day), allowance=10)
    state.see(seen)

    assert (stage, seen) == (state.stage, state.balance)


@pytest.mark.parametrize("prepared_first", [True, False])
def test_a_limit_that_was_set_holds(prepared_first: bool):  # noqa: FBT001 a table's column
    """Also one that was set before the build had begun."""
    state = BuildState(request=BuildRequest(idea="x", max_tool_calls=7))
    if prepared_first:
        state.begin(prepared())
        state.move(Status.SCAFFOLD)
        state.limit_calls(9)
    else:
        state.limit_calls(9)
        state.begin(prepared())

    assert 9 == state.max_tool_calls


def test_only_what_a_person_wrote_is_unheard():
    """Our own notes do not keep a build from its end."""
    state = BuildState(notes=("[nightshift] go on", f"{FOUNDER} hi"))

    assert len(f"{FOUNDER} hi") == state.unheard


def test_the_spend_is_the_build_s_own():
    """Not that of the day, which other builds share."""
    state = BuildState()

    assert 0 == state.spent
    state.balance = Balance(day=date(2026, 3, 1), allowance=10, settled=9, build_spent=4)
    assert 4 == state.spent


def test_what_is_spent_is_put_down_to_the_phase():
    """What a look at the balance finds new goes to the phase of that moment; the sum is what was spent."""
    state = BuildState()
    for phase, spent in (("", 3), ("one", 3), ("one", 10), ("two", 11), ("one", 20)):
        state.phase = phase
        state.see(Balance(day=date(2026, 3, 1), allowance=100, build_spent=spent))

    assert {NO_PHASE: 3, "one": 7 + 9, "two": 1} == state.spent_by_phase
    assert state.spent == sum(state.spent_by_phase.values())


def test_a_build_of_many_phases_tells_a_bounded_number_apart():
    """Later ones share a line, and the sum still holds."""
    state = BuildState()
    for n in range(1, MOST_PHASES + 10):
        state.phase = str(n)
        state.see(Balance(day=date(2026, 3, 1), allowance=100, build_spent=n))

    assert MOST_PHASES == len(state.spent_by_phase)
    assert 10 == state.spent_by_phase[OTHER_PHASES]
    assert state.spent == sum(state.spent_by_phase.values())


# --- the hand-over --------------------------------------------------------------------------------------


def full_state() -> BuildState:
    """A state in which every optional value is set."""
    box = SandboxRef(sandbox_id="s", generation=2, home="/home/user", workspace="/home/user/workspace")
    state = BuildState(
        status=Status.CODE, rest=Rest.BUSY, stage=Stage.TOLD, sandbox=box, check_sandbox=box, wake_at=NOON,
        balance=Balance(day=date(2026, 3, 1), allowance=4_000_000, wakes_at=NOON), stop_reason="enough",
    )  # fmt: skip
    state.begin(prepared(restore_point=1))
    return state


def turn(state: BuildState, n: int) -> None:
    """One turn, with the long values that the workflow keeps of it."""
    state.take_reply(n, state.notes)
    calls = tuple(
        ToolCall(tool_use_id=f"toolu_{n}_{k}", tool="bash", label="x" * 200, digest=f"{n}{k:063}")
        for k in range(4)
    )
    state.unsaved = ()
    for call in calls:
        state.tool_calls += 1
        state.unsaved = (*state.unsaved, f"{call.tool}: {call.label}")
    state.recent_calls = guard.window_after(state.recent_calls, tuple(call.digest for call in calls))
    state.snapshot_key = f"projects/shop/manifests/{n:064}"
    if n % 10 == 0:
        state.note(f"{FOUNDER} " + "y" * 500)
    state.phase = f"{n}: " + "ж" * 95
    state.see(Balance(day=date(2026, 3, 1), allowance=4_000_000, wakes_at=NOON, build_spent=n * 40_000))
    state.log(NOON, f"{state.shown}: phase {state.phase}")


def test_a_long_build_stays_small():
    """After 2,000 turns the state is as small as after 100, and still what it was."""
    state = full_state()
    sizes: list[int] = []
    for n in range(1, 2_001):
        turn(state, n)
        sizes.append(len(state.model_dump_json().encode()) if n % 100 == 0 else 0)

    assert max(sizes) < CARRIED_LIMIT
    assert max(sizes) - sizes[99] < 500
    assert state == BuildState.model_validate_json(state.model_dump_json())


def test_a_state_of_newer_code_is_understood():
    """An added field does not break the older worker that takes over."""
    value = full_state().model_dump(mode="json") | {"added_later": [1]}

    assert full_state() == BuildState.model_validate(value)


def test_a_state_of_older_code_is_understood():
    """Every field has a default: one that was not there yet is filled in."""
    assert BuildState() == BuildState.model_validate({})


# --- payloads -------------------------------------------------------------------------------------------


def payloads() -> list[type[BaseModel]]:
    """Every recorded value; importing the ports and the handlers has defined them all."""
    found = [one for one in Payload.__subclasses__() if one.__module__.startswith("workflows.")]
    assert {ports.ModelCall, ports.RestorePoint, steering.BuildStatus} <= set(found)
    return found


SAMPLES: dict[object, Any] = {
    str: "x",
    int: 1,
    bool: True,
    date: "2026-03-01",
    datetime: "2026-03-01T12:00:00Z",
}


def sample(annotation: Any) -> Any:
    """A JSON value of a field's type."""
    if annotation in SAMPLES:
        return SAMPLES[annotation]
    if isinstance(annotation, type):
        return least(annotation)
    return get_args(annotation)[0]


def least(payload: type[BaseModel]) -> dict[str, Any]:
    """An object of the required fields only."""
    fields = payload.model_fields.items()
    return {name: sample(field.annotation) for name, field in fields if field.is_required()}


@pytest.mark.parametrize("payload", payloads())
def test_a_payload_decodes_from_its_required_fields(payload: type[BaseModel]):
    """What an older history holds is enough, and comes back as it was."""
    value = payload.model_validate_json(json.dumps(least(payload)))

    assert value == payload.model_validate_json(value.model_dump_json())


@pytest.mark.parametrize("payload", [one for one in payloads() if one is not BuildRequest])
def test_a_payload_tolerates_what_it_does_not_know(payload: type[BaseModel]):
    """A rolled-back worker reads the histories of the newer one."""
    value = least(payload)

    assert payload.model_validate(value) == payload.model_validate(value | {"added_later": {}})


def test_a_request_refuses_what_it_does_not_know():
    """A person's typo is told, not ignored."""
    with pytest.raises(ValidationError, match="max_toolcalls"):
        BuildRequest.model_validate({"idea": "x", "max_toolcalls": 3})


@pytest.mark.parametrize("payload", payloads())
def test_a_payload_is_frozen(payload: type[BaseModel]):
    """What history holds is not changed in memory."""
    value = payload.model_validate(least(payload))
    name = next(iter(payload.model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(value, name, getattr(value, name))


def test_going_back_forgets_where_in_the_plan_and_in_the_day_it_stood():
    """An item belongs to its phase, and the last calls of a day to the stage that was told."""
    state = BuildState(phase="two", plan_item="b", stage=Stage.WINDING_DOWN, last_calls=7)
    state.go_back(Rewind(restore_point=1, key="k", turn=2), Rewound(head=3, phase="one"))

    assert ("one", "", Stage.NORMAL, 0) == (state.phase, state.plan_item, state.stage, state.last_calls)
