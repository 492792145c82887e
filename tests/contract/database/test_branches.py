"""A fork and a rewind: one conversation up to the restore point, its own money, calls and words after it."""

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update
from temporalio.exceptions import ApplicationError

from activities.branches import UNDONE_RESULT, UNKNOWN_RESULT, Branches
from activities.conversation import next_question
from activities.receipt_rows import load_past, load_receipt
from activities.rewinds import Rewinds
from activities.rows import dump
from activities.tables import builds, documents, phases, restore_points
from tests.contract.database.test_epochs import LINES, answer, hold_ceiling
from workflows.branches import FindRestorePoint, Rewind, RewindBuild, Rewound
from workflows.errors import FailureType
from workflows.models import FinishBuild, PreparedBuild
from workflows.turns import ModelReply, Refusal

IDEA = "[[script:long turns=90]] Count."
PLAN = {"goal": "Count.", "phases": [{"name": name} for name in ("One", "Two", "Three")]}


async def keep(desk: Any, build: PreparedBuild, turn: int, head: int, **values: Any) -> int:
    """Write a restore point as a snapshot does."""
    row = {
        "build_id": build.build_id,
        "project": build.project,
        "number": turn,
        "generation": 1,
        "key": f"manifests/{uuid.uuid4().hex}",
        "kind": "full",
        "reason": "turn",
        "turn": turn,
        "head_id": head,
    }
    statement = insert(restore_points).values(row | values).returning(restore_points.c.id)
    async with desk.engine.begin() as connection:
        return (await connection.execute(statement)).scalar_one()


async def built(
    desk: Any, turns: int, *, said: str = "", **request: Any
) -> tuple[PreparedBuild, list[ModelReply], list[int]]:
    """Let a build make some turns, each with its restore point; gives the replies and the points."""
    build = await desk.prepare(**{"idea": IDEA} | request)
    replies: list[ModelReply] = []
    points: list[int] = []
    for turn in range(1, turns + 1):
        head = replies[-1].head if replies else build.head
        replies.append(await desk.call(build, head=head, turn=turn))
        await answer(desk, replies[-1], f"long turn {turn} of 90\n{said}")
        points.append(await keep(desk, build, turn, replies[-1].head))
    return build, replies, points


async def say(
    desk: Any,
    build: PreparedBuild,
    parent: int,
    *calls: tuple[str, dict[str, Any]],
    captured: Sequence[int] = (),
) -> int:
    """Append a reply that makes these calls, and their results, which may be in these captures."""
    blocks = [
        {"type": "tool_use", "id": f"toolu_{uuid.uuid4().hex}", "name": name, "input": given}
        for name, given in calls
    ]
    row, results = (await desk.transcript.path(parent))[-1], await desk.transcript.results_for(parent)
    async with desk.engine.begin() as connection:
        asked = next_question(row, results, [uuid.uuid4().hex])
        question = await desk.transcript.append(
            connection, build_id=build.build_id, parent_id=parent, role="user", body=asked
        )
        head = await desk.transcript.append(
            connection, build_id=build.build_id, parent_id=question, role="assistant", body=dump(blocks)
        )
    for block, number in zip_longest(blocks, captured, fillvalue=0):
        effects = {"captured": number}
        said = {"content": f"Told, {number}.", "is_error": False, "effects": effects}
        await desk.transcript.write_result(head, block["id"], generation=1, **said)
    return head


async def fork(desk: Any, build: PreparedBuild, turn: int, **request: Any) -> PreparedBuild:
    given = {"idea": "", "fork": {"build": build.build_id, "turn": turn}}
    return await desk.prepare(**given | request)


def rewinds_of(desk: Any) -> Rewinds:
    """Over a bucket in which nothing is damaged: here are rows alone."""

    async def manifest(_: int) -> None:
        return

    return Rewinds(desk.engine, Branches(desk.engine, desk.transcript), manifest=manifest)


async def rewind(desk: Any, build: PreparedBuild, turn: int, at: datetime | None = None) -> Rewound:
    """Go back as the workflow does: find the point, then move the conversation."""
    rewinds = rewinds_of(desk)
    found: Rewind = await desk.run(
        rewinds.find_restore_point, FindRestorePoint(build_id=build.build_id, turn=turn)
    )
    found = found.model_copy(update={"at": at or datetime.now(UTC)})
    request = RewindBuild(build_id=build.build_id, rewind=found)
    first = await desk.run(rewinds.rewind_build, request)
    assert first == await desk.run(rewinds.rewind_build, request)
    return first


async def row_of(desk: Any, build: PreparedBuild) -> dict[str, Any]:
    async with desk.engine.connect() as connection:
        return dict((await connection.execute(select(builds).filter_by(id=build.build_id))).mappings().one())


async def progress_of(desk: Any, build: PreparedBuild) -> tuple[list[tuple[str, bool]], dict[str, str]]:
    """The phases with whether each is under way, and the guide."""
    begun = select(phases.c.name, phases.c.completed_at.is_(None)).filter_by(build_id=build.build_id)
    guide = select(documents.c.section, documents.c.content).filter_by(build_id=build.build_id)
    async with desk.engine.connect() as connection:
        found = [tuple(row) for row in await connection.execute(begun.order_by(phases.c.id))]
        return found, dict([tuple(row) for row in await connection.execute(guide)])


async def test_a_fork_sends_what_was_sent_at_that_turn_and_its_own_words_after(desk, control):
    """Its first request starts, item by item, with the original's of that turn; its replies are its own."""
    build, replies, points = await built(desk, 4)
    made = await fork(desk, build, 2)
    reply = await desk.call(made, turn=made.turn + 1)
    sent = [each["digests"] for each in await control.requests()]
    path = await desk.transcript.path(reply.head)

    assert (build.project, 2, points[1], 2) == (made.project, made.turn, made.restore_point, made.number)
    for name in ("tools", "system"):
        assert sent[1][name] == sent[-1][name]
    assert sent[1]["messages"] == sent[-1]["messages"][: len(sent[1]["messages"])]
    assert [row.build_id for row in path] == [build.build_id] * 5 + [made.build_id] * 2
    assert "[fork]" in path[-2].body
    assert replies[1].head == path[-2].parent_id


async def test_two_branches_of_one_point_share_no_reply_and_no_call(desk):
    """Each buys its own: no call of one has a result of the other, and the original goes on as it was."""
    build, replies, _ = await built(desk, 3)
    forks = [await fork(desk, build, 2) for _ in range(2)]
    back = await rewind(desk, build, 2)
    heads = [each.head for each in (*forks, back)]
    made = [await desk.call(one, head=head, turn=3) for one, head in zip((*forks, build), heads, strict=True)]

    assert 3 == len(set(heads))
    assert 4 == len({replies[2].head, *(one.head for one in made)})
    assert [{}] * 3 == [await desk.transcript.results_for(one.head) for one in made]
    assert 1 == len(await desk.entries(forks[0].build_id))
    assert replies[2].head == (await desk.call(build, head=replies[1].head, turn=3)).head


async def test_a_fork_begins_at_zero_and_tells_what_it_inherits(desk, engine):
    """The ledger is never shared; a receipt tells what the conversation up to there had cost."""
    build, replies, _ = await built(desk, 3)
    made = await fork(desk, build, 2)
    await desk.call(made, turn=3)
    receipt = await load_receipt(engine, made.build_id)
    entries = await desk.entries(made.build_id)

    assert receipt is not None
    assert sum(one.cost for one in replies[:2]) == made.inherited == receipt.inherited_microdollars
    assert build.build_id == receipt.forked_from
    assert [entry["cost"] for entry in entries] == [receipt.spent_microdollars]
    assert [3] == [entry["turn"] for entry in entries]


async def test_a_fork_of_a_fork_inherits_both(desk):
    """Whoever paid for the conversation; rows of all three are one path."""
    build, replies, _ = await built(desk, 2)
    middle = await fork(desk, build, 2)
    reply = await desk.call(middle, turn=3)
    await answer(desk, reply)
    await keep(desk, middle, 3, reply.head)
    last = await fork(desk, middle, 3, idea="Make it blue.")
    path = await desk.transcript.path((await desk.call(last, turn=4)).head)

    assert sum(one.cost for one in (*replies, reply)) == last.inherited
    assert 3 == len({row.build_id for row in path})
    assert "[founder] Make it blue." in path[-2].body


async def test_phases_and_guide_are_those_of_the_turn(desk):
    """What began, what is under way and what the guide says are read from the conversation itself."""
    build = await desk.prepare(idea=IDEA, build_plan=PLAN)
    told = ("narrate", {"message": "m", "phase_name": "One"}), ("document", {"section": "s", "content": "1"})
    first = await say(desk, build, build.head, *told)
    await keep(desk, build, 1, first)
    later = ("narrate", {"message": "m", "phase_name": "Two"}), ("document", {"section": "s", "content": "2"})
    second = await say(desk, build, first, *later)
    await keep(desk, build, 2, second)
    at_two = await fork(desk, build, 2)
    back = await rewind(desk, build, 1)

    assert ("Two", ("Three",)) == (at_two.phase, at_two.phases)
    assert ([("One", False), ("Two", True)], {"s": "2"}) == await progress_of(desk, at_two)
    assert ("One", ("Two", "Three")) == (back.phase, back.open_phases)
    assert ([("One", True)], {"s": "1"}) == await progress_of(desk, build)


async def test_what_is_not_kept_is_answered_with_what_is(desk):
    """Turn, time and reason of each; another build's, or none at all, is said too."""
    build, _, _ = await built(desk, 2)
    with pytest.raises(ApplicationError) as missing:
        await fork(desk, build, 7)
    with pytest.raises(ApplicationError) as unknown:
        await desk.prepare(idea="", fork={"build": "no such", "turn": 1})
    with pytest.raises(ApplicationError) as back:
        await rewind(desk, build, 0)
    with pytest.raises(ApplicationError) as foreign:
        await desk.prepare(idea="", user="local", fork={"build": build.build_id, "turn": 1})

    today = f"{datetime.now(UTC):%Y-%m-%d}"
    for refused in (missing, back):
        assert FailureType.INVALID_BUILD_REQUEST == refused.value.type
        assert f"Kept are: turn 1, {today}" in refused.value.message
        assert "turn 2" in refused.value.message
    assert "'no such'" in unknown.value.message
    assert "is not a project of user 'local'" in foreign.value.message


async def test_a_point_that_went_before_it_was_gone_back_to_is_said(desk):
    """By whoever's hand, as a held one is not pruned: the build ends with a word, not with a bug of ours."""
    build, _, points = await built(desk, 2)
    rewinds = rewinds_of(desk)
    found = await desk.run(rewinds.find_restore_point, FindRestorePoint(build_id=build.build_id, turn=1))
    async with desk.engine.begin() as connection:
        await connection.execute(delete(restore_points).filter_by(id=points[0]))
    with pytest.raises(ApplicationError, match="no restore point of turn 1 is kept"):
        await desk.run(rewinds.rewind_build, RewindBuild(build_id=build.build_id, rewind=found))


async def test_calls_without_a_result_are_answered_with_what_is_known(desk):
    """A build that was ended within a turn can be forked there: the model is told that it may have run."""
    build = await desk.prepare(idea=IDEA)
    reply = await desk.call(build)
    await keep(desk, build, 1, reply.head, reason="end", note="[sandbox] undone: bash")
    made = await fork(desk, build, 1)
    await desk.call(made, turn=2)
    body = (await desk.transcript.path(made.head))[-1].body

    assert UNKNOWN_RESULT in body
    assert "[sandbox] undone: bash" in body
    assert {} == await desk.transcript.results_for(reply.head)


@pytest.mark.parametrize("how", [fork, rewind])
@pytest.mark.parametrize(
    ("unended", "told"),
    [
        (0, ["Told, 1.", "Told, 0.", "Told, 2.", "Told, 0."]),
        (1, ["Told, 1.", "Told, 0.", "Told, 2.", "Told, 0."]),
        (2, ["Told, 1.", "Told, 0.", UNDONE_RESULT, UNDONE_RESULT]),
        (3, ["Told, 1.", "Told, 0.", UNDONE_RESULT, UNDONE_RESULT]),
        (4, [UNDONE_RESULT] * 4),
    ],
)
async def test_calls_that_ended_after_the_files_were_taken_are_undone(
    desk, how, unended: int, told: list[str]
):
    """From the first that changed files on: what it did, and what was seen after it, is not there."""
    build = await desk.prepare(idea=IDEA, build_plan=PLAN)
    calls = [("bash", {"command": "one"}), ("grep", {"pattern": "x"}), ("bash", {"command": "two"})]
    begun = ("narrate", {"message": "m", "phase_name": "One"})
    head = await say(desk, build, build.head, *calls, begun, captured=(1, 0, 2, 0))
    await keep(desk, build, 1, head, reason="call", unended=unended)
    made = await how(desk, build, 1)
    blocks = json.loads((await desk.transcript.path(made.head))[-1].body)

    answers = [block for block in blocks if block["type"] == "tool_result"]
    assert told == [block["content"] for block in answers]
    assert [text == UNDONE_RESULT for text in told] == [block.get("is_error", False) for block in answers]
    assert made.phase == ("" if UNDONE_RESULT in told else "One")


async def test_rewinds_to_the_same_turn_are_two(desk):
    """Each is told at its moment: the reply that followed the first is not bought for the second."""
    build, _, _ = await built(desk, 2)
    first = await rewind(desk, build, 1)
    reply = await desk.call(build, head=first.head, turn=2)
    second = await rewind(desk, build, 1)
    other = await desk.call(build, head=second.head, turn=2)

    assert reply.head != other.head
    assert 4 == len(await desk.entries(build.build_id))


async def test_a_further_build_begins_at_what_was_gone_back_to(desk):
    """Not at newer files that were undone, until newer ones are made; undone ones can still be gone to."""
    build, replies, points = await built(desk, 3)
    back = await rewind(desk, build, 1)
    further = await desk.prepare(idea=IDEA, project=build.project)
    newer = await keep(desk, build, 2, back.head, generation=2)
    later = await desk.prepare(idea=IDEA, project=build.project)
    undone = await rewind(desk, build, 3)
    last = await desk.prepare(idea=IDEA, project=build.project)

    assert (points[0], newer, points[2]) == (
        further.restore_point, later.restore_point, last.restore_point,
    )  # fmt: skip
    assert build.restore_point == (await row_of(desk, build))["restore_point"]
    assert replies[2].head == (await desk.transcript.path(undone.head))[-1].parent_id


async def test_a_fork_is_prepared_once(desk, make_desk):
    """A retry gives the same fork, also when its point has gone since and it was reset to its beginning."""
    build, _, points = await built(desk, 2)
    run_id = str(uuid.uuid4())
    made = await fork(desk, build, 1, run_id=run_id)
    await desk.run(desk.builds.finish_build, FinishBuild(build_id=run_id, status="failed", outcome="stopped"))
    async with desk.engine.begin() as connection:
        await connection.execute(update(restore_points).filter_by(id=points[0]).values(turn=99))
    other = make_desk()
    other.user = desk.user

    assert made == await fork(other, build, 1, run_id=run_id)


async def test_a_long_fork_goes_on_in_an_epoch_of_its_own(desk):
    """Too dear for its user, the conversation is rendered anew under the fork's name only."""
    build, replies, _ = await built(desk, 15, said=LINES)
    await hold_ceiling(desk, replies[-1].input_tokens)
    made = await fork(desk, build, 15)
    reply = await desk.call(made, turn=16)
    path = await desk.transcript.path(reply.head)

    assert {made.build_id} == {row.build_id for row in path}
    assert 1 == path[0].epoch
    assert {build.build_id} == {row.build_id for row in await desk.transcript.path(replies[-1].head)}


async def test_quotes_are_not_made_of_forks(desk, engine):
    """A fork's own money is less than what its plan costs."""
    build, _, _ = await built(desk, 2)
    made = await fork(desk, build, 1)
    await desk.call(made, turn=2)
    before = len(await load_past(engine))
    await desk.run(
        desk.builds.finish_build, FinishBuild(build_id=made.build_id, status="ready", outcome="completed")
    )

    assert before == len(await load_past(engine))


async def test_a_build_spends_no_more_than_its_budget(desk):
    """Whatever its days allow: the last replies are smaller, then none is bought, and the word is used up."""
    build = await desk.prepare(idea=IDEA, budget_microdollars=120_000)
    head, turn, refused = build.head, 0, None
    while refused is None:
        turn += 1
        reply = await desk.call(build, head=head, turn=turn)
        refused, head = reply.refused, reply.head
        if refused is None:
            await answer(desk, reply, f"long turn {turn} of 90\n")
    entries = await desk.entries(build.build_id)

    assert Refusal.USED_UP == refused
    assert turn > 2
    assert sum(entry["cost"] for entry in entries) <= 120_000 == build.budget
    assert reply.balance.build_left < reply.balance.worst_case
    assert reply.balance.left > reply.balance.worst_case
    assert all(entry["reserved"] <= 120_000 for entry in entries)
