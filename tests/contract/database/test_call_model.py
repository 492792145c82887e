"""A reply is bought once, whatever happens around the call."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import select, text
from temporalio.exceptions import ApplicationError
from typing_extensions import override

from activities.accounts import Accounts
from activities.entries import INPUT
from activities.failures import NO_CREDIT
from activities.metering import FASTEST
from activities.model import Model
from activities.orders import Order, Reservation
from activities.prices import Usage, price_of, worst_case
from activities.purchases import Purchases
from activities.tables import builds, transcript
from workflows.catalogue import InvalidToolCall, parse_call
from workflows.errors import FailureType
from workflows.models import FinishBuild, PreparedBuild
from workflows.turns import ModelCall, ModelReply, Refusal

LONG = "[[script:long turns=6]] Count."
LAST_WORDS = 3
"""Events of a stream after all text and tool input: the end of the last block, the usage, the end."""


async def answer(desk: Any, reply: ModelReply, said: str = "ok\n") -> None:
    """Give every tool call of a reply a result."""
    for call in reply.tool_calls:
        await desk.transcript.write_result(
            reply.head, call.tool_use_id, content=said, is_error=False, generation=1, preview=said
        )


async def rows_of(desk: Any, build: PreparedBuild) -> list[str]:
    query = select(transcript.c.role).filter_by(build_id=build.build_id).order_by(transcript.c.id)
    async with desk.engine.connect() as connection:
        return list((await connection.execute(query)).scalars())


async def test_reply_is_bought_settled_and_described(desk):
    """A call appends the reply, settles what it cost and gives numbers and a preview."""
    build = await desk.prepare(idea=LONG)
    reply = await desk.call(build)
    [entry] = await desk.entries(build.build_id)
    usage = Usage(
        **{
            name: entry[name]
            for name in ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
        }
    )

    assert (reply.refused, reply.stop_reason) == (None, "tool_use")
    assert [call.tool for call in reply.tool_calls] == ["bash"]
    assert reply.tool_calls[0].changing
    assert reply.preview
    assert (entry["state"], entry["reply_id"]) == ("settled", reply.head)
    assert entry["cost"] == reply.cost == price_of(build.model, usage, at=None).microdollars
    assert entry["cost"] <= entry["reserved"]
    assert reply.balance.settled == reply.balance.build_spent == reply.cost
    assert reply.balance.reserved == reply.balance.lost == 0
    assert await rows_of(desk, build) == ["system", "user", "assistant"]


async def test_bought_reply_is_given_again(desk, make_desk, control):
    """A retry of a finished call, on another worker too, asks the provider nothing and costs nothing."""
    build = await desk.prepare(idea=LONG)
    first = await desk.call(build)
    other = make_desk()
    again = await other.call(build)

    assert again == first
    assert len(await control.requests()) == 1
    assert len(await desk.entries(build.build_id)) == 1


async def test_conversation_only_grows(desk, make_desk, control):
    """Each request starts with the one before, item by item, across turns and a worker's restart."""
    build = await desk.prepare(idea=LONG)
    head = build.head
    for turn in range(1, 6):
        worker = make_desk() if turn == 3 else desk
        reply = await worker.call(build, head=head, turn=turn, notes=() if turn % 2 else (f"Note {turn}.",))
        await answer(desk, reply, f"turn {turn}\n" * 200)
        head = reply.head
    sent = await control.requests()

    assert len(sent) == 5
    for earlier, later in pairwise(sent):
        before, after = earlier["digests"], later["digests"]
        assert (before["tools"], before["system"]) == (after["tools"], after["system"])
        assert before["messages"] == after["messages"][: len(before["messages"])]
    assert all(each["usage"]["cache_read_input_tokens"] > 0 for each in sent[1:])


async def test_an_interrupted_request_stays_in_front_block_by_block(desk, control):
    """What is said next joins the message that got no reply: all before it is read from the cache again."""
    build = await desk.prepare(idea=LONG)
    reply = await desk.call(build)
    await answer(desk, reply, "x" * 20_000)
    await control.hold(after_events=3, times=1)
    call = asyncio.create_task(desk.call(build, head=reply.head, turn=2))
    await control.until_held()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await control.release()
    await desk.call(build, head=reply.head, turn=2, notes=("[founder] Use blue.",))
    first, interrupted, then = await control.requests()

    assert 3 == interrupted["messages"] == then["messages"]
    assert first["digests"]["messages"] == then["digests"]["messages"][: first["messages"]]
    assert then["usage"]["cache_read_input_tokens"] >= 0.95 * input_of(interrupted["usage"])


def input_of(usage: dict[str, int]) -> int:
    return sum(usage[f"{kind}input_tokens"] for kind in ("", "cache_creation_", "cache_read_"))


async def test_slow_commands_are_followed_by_an_hours_cache(desk, control):
    """After a command that asks for ten minutes, what is written lives an hour and is priced so."""
    build = await desk.prepare(idea="[[script:long turns=6 slow=600]] Count.")
    head = build.head
    for turn in range(1, 4):
        reply = await desk.call(build, head=head, turn=turn)
        await answer(desk, reply, "x" * 5_000)
        head = reply.head
    written = [each["usage"]["cache_creation"] for each in await control.requests()]
    entries = await desk.entries(build.build_id)

    assert [each["ephemeral_1h_input_tokens"] > 0 for each in written] == [False, True, True]
    assert [each["ephemeral_5m_input_tokens"] > 0 for each in written] == [True, False, False]
    assert [entry["cache_write_1h_tokens"] for entry in entries] == [
        each["ephemeral_1h_input_tokens"] for each in written
    ]
    for entry in entries:
        usage = Usage(**{name: entry[name] for name in (*INPUT, "output_tokens")})
        assert entry["cost"] == price_of(build.model, usage, at=None).microdollars <= entry["reserved"]


async def test_an_hours_cache_never_sends_a_build_to_sleep(desk):
    """Where only the price of the shorter life is left, that one is bought."""
    build = await desk.prepare(idea="[[script:long turns=6 slow=600]] Count.")
    reply = await desk.call(build)
    await answer(desk, reply)
    tokens = reply.input_tokens + reply.output_tokens + 500
    short, long = (
        worst_case(build.model, input_tokens=tokens, max_tokens=2_000, at=None, lifetime=each).microdollars
        for each in ("5m", "1h")
    )
    await desk.set_money(reply.cost + (short + long) // 2)
    following = await desk.call(build, head=reply.head, turn=2)
    entry = (await desk.entries(build.build_id))[-1]

    assert following.refused is None
    assert entry["cache_write_1h_tokens"] == 0 < entry["cache_write_tokens"]


async def test_reservation_covers_every_call(desk):
    """No call of a build costs more than was set aside, whether its input was counted or bounded."""
    build = await desk.prepare(idea=LONG)
    head = build.head
    for turn in range(1, 6):
        reply = await desk.call(build, head=head, turn=turn)
        await answer(desk, reply, "x" * (turn * 3_000))
        head = reply.head
    entries = await desk.entries(build.build_id)

    assert [entry["state"] for entry in entries] == ["settled"] * 5
    assert all(entry["cost"] <= entry["reserved"] for entry in entries)


async def test_missing_result_is_a_bug(desk, control):
    """A head whose tool call has no result is never sent."""
    build = await desk.prepare(idea=LONG)
    reply = await desk.call(build)
    with pytest.raises(ApplicationError, match="without a result") as caught:
        await desk.call(build, head=reply.head)

    assert caught.value.non_retryable
    assert len(await control.requests()) == 1


async def until_input_is_noted(desk: Any, build: PreparedBuild) -> None:
    async with asyncio.timeout(20):
        while not [entry for entry in await desk.entries(build.build_id) if entry["input_tokens"]]:
            await asyncio.sleep(0.01)


async def reserve(desk: Any, build: PreparedBuild) -> Reservation:
    """Do what a worker does before it streams, and no more."""
    path = await desk.transcript.path(build.head)
    made = await desk.purchases.reserve(
        Order(
            build_id=build.build_id,
            user=build.user,
            model=build.model,
            parent=path[-1],
            question="",
            input_tokens=10_000,
            max_tokens=16_000,
            at=datetime(2026, 11, 23, 12, tzinfo=UTC),
        )
    )
    assert isinstance(made, Reservation)
    return made


async def test_crash_before_the_stream_loses_the_worst_case(desk, make_desk):
    """What a dead worker reserved is marked lost by the next attempt and stays counted in full."""
    build = await desk.prepare(idea=LONG)
    await reserve(desk, build)
    reply = await make_desk().call(build)
    lost, settled = await desk.entries(build.build_id)

    assert (lost["state"], settled["state"]) == ("lost", "settled")
    assert lost["cost"] == lost["reserved"]
    assert (reply.balance.lost, reply.balance.settled) == (lost["cost"], settled["cost"])
    assert reply.balance.build_spent == lost["cost"] + settled["cost"]


async def test_crash_within_the_stream_loses_what_was_seen(desk, make_desk):
    """Once the provider has counted the input, a crash costs that and all the output it could give."""
    build = await desk.prepare(idea=LONG)
    seen = Usage(input_tokens=9_000, cache_read_tokens=8_000, cache_write_tokens=500)
    await desk.purchases.note_input(await reserve(desk, build), seen)
    await make_desk().call(build)
    lost, _ = await desk.entries(build.build_id)
    most = Usage(
        input_tokens=9_000, cache_read_tokens=8_000, cache_write_tokens=500, output_tokens=lost["max_tokens"]
    )

    assert lost["cost"] == price_of(build.model, most, at=None).microdollars < lost["reserved"]


async def test_superseded_attempt_appends_nothing(desk, make_desk, control):
    """A slow attempt that another overtook books its real cost as lost, and raises to be retried."""
    build = await desk.prepare(idea=LONG)
    await control.hold(after_events=3, times=1)
    slow = asyncio.create_task(desk.call(build))
    await control.until_held()
    reply = await make_desk().call(build)
    await control.release()
    with pytest.raises(ApplicationError) as caught:
        await slow
    lost, settled = await desk.entries(build.build_id)
    real = Usage(
        **{
            name: lost[name]
            for name in ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
        }
    )

    assert caught.value.type == FailureType.RETRYABLE
    assert not caught.value.non_retryable
    assert (lost["state"], lost["note"], lost["reply_id"]) == ("lost", "superseded", None)
    assert lost["cost"] == price_of(build.model, real, at=None).microdollars
    assert settled["reply_id"] == reply.head
    assert await rows_of(desk, build) == ["system", "user", "assistant"]
    assert (await desk.call(build)).head == reply.head


async def spent_by(desk: Any, build: PreparedBuild) -> int:
    """What the build's own row says it spent, microdollars."""
    async with desk.engine.connect() as connection:
        return (await connection.execute(select(builds.c.spent).filter_by(id=build.build_id))).scalar_one()


class StandsStill(Purchases):
    """Reserves, and stands still until it is let go, as a process does whose machine is suspended."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.reserved, self.goes_on = asyncio.Event(), asyncio.Event()

    @override
    async def reserve(self, order: Order) -> Any:
        made = await super().reserve(order)
        self.reserved.set()
        await self.goes_on.wait()
        return made


async def test_an_attempt_that_stood_still_buys_no_reply_that_another_has(desk, make_desk, control, settings):
    """It looks once more before it asks: what was taken over meanwhile is not bought a second time."""
    build = await desk.prepare(idea=LONG)
    purchases = StandsStill(desk.engine, desk.transcript, settings)
    desk.model._purchases = purchases
    still = asyncio.create_task(desk.call(build))
    await purchases.reserved.wait()
    reply = await make_desk().call(build)
    ended = FinishBuild(build_id=build.build_id, status="failed", outcome="cancelled")
    spent_at_end = await desk.run(desk.builds.finish_build, ended)
    purchases.goes_on.set()
    before = len(await control.requests())
    with pytest.raises(ApplicationError, match="has bought nothing") as caught:
        await still
    unsent, settled = await desk.entries(build.build_id)

    assert caught.value.type == FailureType.RETRYABLE
    assert len(await control.requests()) == before
    assert (unsent["state"], unsent["cost"], unsent["note"]) == ("released", 0, "never sent")
    assert (settled["state"], settled["reply_id"]) == ("settled", reply.head)
    assert reply.balance.lost > (await desk.call(build)).balance.lost == 0
    assert await spent_by(desk, build) == settled["cost"] < spent_at_end
    assert (await desk.call(build)).head == reply.head


@pytest.mark.parametrize(
    "kind", ["cut", "disconnect", "sse_error", "sse_untyped", "sse_garbage", "stray_delta", "unclosed"]
)
async def test_broken_stream_is_no_reply(desk, control, kind):
    """A stream that breaks is retried, its cost is shown as lost, and the retry buys one reply."""
    build = await desk.prepare(idea=LONG)
    await control.faults({"kind": kind, "after_events": 4})
    with pytest.raises(ApplicationError) as caught:
        await desk.call(build)
    reply = await desk.call(build)
    states = [entry["state"] for entry in await desk.entries(build.build_id)]

    assert caught.value.type == FailureType.RETRYABLE
    assert states == ["lost", "settled"]
    assert await rows_of(desk, build) == ["system", "user", "assistant"]
    assert reply.balance.lost > 0


@pytest.mark.parametrize("kind", ["rate_limit", "overloaded", "server_error", "page"])
async def test_refused_request_costs_nothing(desk, control, kind):
    """When the provider answers with an error nothing was bought: the money is free again."""
    build = await desk.prepare(idea=LONG)
    await control.faults({"kind": kind, "seconds": 7.5})
    with pytest.raises(ApplicationError) as caught:
        await desk.call(build)
    [entry] = await desk.entries(build.build_id)

    assert caught.value.type == FailureType.RETRYABLE
    assert (entry["state"], entry["cost"]) == ("released", 0)
    if kind == "rate_limit":
        assert caught.value.next_retry_delay == timedelta(seconds=7.5)


async def test_unreachable_provider_costs_nothing(make_desk):
    """A request that never left is not counted."""
    desk = make_desk(base_url="http://127.0.0.1:9")
    build = await desk.prepare()
    with pytest.raises(ApplicationError) as caught:
        await desk.call(build)

    assert caught.value.type == FailureType.RETRYABLE
    assert await desk.entries(build.build_id) == []


@pytest.mark.parametrize("kind", ["spend_limit", "no_credit", "billing", "tier_limit", "contract_limit"])
async def test_a_bill_or_a_spend_limit_stops_with_a_clear_word(desk, control, kind):
    """What only money mends is not asked again; the founder reads what the provider said and what to do."""
    build = await desk.prepare(idea=LONG)
    await control.faults({"kind": kind})
    with pytest.raises(ApplicationError) as caught:
        await desk.call(build)
    [entry] = await desk.entries(build.build_id)

    assert caught.value.type == FailureType.MODEL_REJECTED
    assert caught.value.non_retryable
    assert NO_CREDIT in caught.value.message
    assert any(word in caught.value.message for word in ("limit", "credit balance", "billing"))
    assert (entry["state"], entry["cost"]) == ("released", 0)
    assert len(await control.requests()) == 0


@pytest.mark.parametrize(
    ("kind", "said"), [("revoked_key", "invalid x-api-key"), ("no_permission", "no permission")]
)
async def test_a_refused_key_is_a_question_to_a_person(desk, control, kind, said):
    """It costs nothing, is not asked again by itself, and says what the provider said and what to mend."""
    build = await desk.prepare(idea=LONG)
    await control.faults({"kind": kind})
    with pytest.raises(ApplicationError, match=said) as caught:
        await desk.call(build)
    states = [entry["state"] for entry in await desk.entries(build.build_id)]

    assert (caught.value.type, caught.value.non_retryable) == (FailureType.PERSON_NEEDED, True)
    assert "Mend the key" in caught.value.message
    assert set(states) <= {"released"}
    assert (await desk.call(build)).refused is None


@pytest.mark.parametrize(
    ("kind", "expected", "said"),
    [
        ("sse_revoked_key", FailureType.PERSON_NEEDED, "Mend the key"),
        ("sse_no_permission", FailureType.PERSON_NEEDED, "Mend the key"),
        ("sse_billing", FailureType.MODEL_REJECTED, NO_CREDIT),
    ],
)
async def test_errors_within_a_stream_mean_what_they_mean_without(desk, control, kind, expected, said):
    """An error event in a stream of status 200 is judged by its type, as its status would be."""
    build = await desk.prepare(idea=LONG)
    await control.faults({"kind": kind, "after_events": 4})
    with pytest.raises(ApplicationError, match=re.escape(said)) as caught:
        await desk.call(build)

    assert (caught.value.type, caught.value.non_retryable) == (expected, True)


@pytest.mark.parametrize(
    ("kind", "is_told"), [("sse_error", True), ("sse_garbage", False), ("cut", False), ("disconnect", False)]
)
async def test_broken_stream_costs_what_the_provider_says_it_gave(desk, control, kind, is_told):
    """A stream that the provider ends by its own error costs what came; any other, all it could give."""
    build = await desk.prepare(idea=LONG)
    await control.faults({"kind": kind, "after_events": 4})
    with pytest.raises(ApplicationError):
        await desk.call(build)
    [entry] = await desk.entries(build.build_id)

    assert (entry["state"], entry["output_tokens"] < entry["max_tokens"] // 10) == ("lost", is_told)
    assert entry["input_tokens"] > 0


async def test_a_refusal_says_why(desk, control):
    """The founder can read why the model declined, also when the call is asked for again."""
    build = await desk.prepare(idea=LONG)
    await control.faults({"kind": "refusal"})
    reply = await desk.call(build)

    assert (reply.stop_reason, reply.tool_calls) == ("refusal", ())
    assert reply.preview == "It may do harm. (category general_harms)"
    assert await desk.call(build) == reply


async def test_pings_alone_are_a_stall(desk, control):
    """A stream that only pings is given up, and asked again."""
    build = await desk.prepare(idea=LONG)
    impatient = Model(
        desk.model._provider.client,
        transcript=desk.transcript,
        purchases=desk.purchases,
        ledger=desk.ledger,
        events=desk.events,
        silence=timedelta(seconds=0.5),
    )
    await control.hold(after_events=3, times=1, ping_seconds=0.05)
    with pytest.raises(ApplicationError, match="StalledStream") as caught:
        await desk.run(
            impatient.call_model,
            ModelCall(build_id=build.build_id, user=build.user, model=build.model, head=build.head, turn=1),
        )
    [entry] = await desk.entries(build.build_id)

    assert caught.value.type == FailureType.RETRYABLE
    assert entry["state"] == "lost"


def priced(build: PreparedBuild, usage: dict[str, Any], *, output: int) -> int:
    """What the scripted server's own count of a request comes to, microdollars."""
    read, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
    seen = Usage(
        input_tokens=usage["input_tokens"] + read + written,
        cache_read_tokens=read,
        cache_write_tokens=written,
        output_tokens=output,
    )
    return price_of(build.model, seen, at=None).microdollars


async def test_cancelled_call_closes_its_reservation(desk, control):
    """Cancelling books what was read and written until then: never less, and no more than twice that.

    Besides, what can have been thought unseen in the seconds before the first word.
    """
    build = await desk.prepare(idea=LONG)
    await control.hold(after_events=-LAST_WORDS, times=1)
    call = asyncio.create_task(desk.call(build))
    await control.until_held()
    await until_input_is_noted(desk, build)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    [entry] = await desk.entries(build.build_id)
    usage = (await control.requests())[-1]["usage"]
    written = usage["output_tokens"]

    assert (entry["state"], entry["note"]) == ("lost", "cut off by CancelledError")
    assert priced(build, usage, output=written) <= entry["cost"]
    assert entry["cost"] <= priced(build, usage, output=2 * written + FASTEST)
    assert entry["cost"] < entry["reserved"] // 2


async def test_cancelled_before_the_stream_began(desk, control):
    """A call that is cancelled while the provider reads books the input at its dearest, not a whole reply."""
    build = await desk.prepare(idea=LONG)
    await control.hold(after_events=0, times=1)
    call = asyncio.create_task(desk.call(build))
    await control.until_held()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    [entry] = await desk.entries(build.build_id)
    usage = (await control.requests())[-1]["usage"]

    assert entry["state"] == "lost"
    assert priced(build, usage, output=1) <= entry["cost"] < entry["reserved"] // 2


async def test_paid_reply_survives_the_database(desk, control):
    """A reply that arrives while the database drops every connection is settled, not bought again."""
    build = await desk.prepare(idea=LONG)
    await control.hold(after_events=3, times=1)
    call = asyncio.create_task(desk.call(build))
    await control.until_held()
    async with desk.engine.connect() as connection:
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'nightshift' AND pid <> pg_backend_pid()"
            )
        )
    await control.release()
    await call
    [entry] = await desk.entries(build.build_id)

    assert entry["state"] == "settled"


async def test_broken_tool_call_is_kept_as_it_came(desk, control):
    """A tool's input that breaks off is stored and can be answered, but never validates."""
    build = await desk.prepare(idea=LONG)
    await control.faults({"kind": "malformed"})
    reply = await desk.call(build)
    [call] = reply.tool_calls
    given = await desk.transcript.tool_input(reply.head, call.tool_use_id)
    await answer(desk, reply)
    following = await desk.call(build, head=reply.head, turn=2)

    assert set(given) == {"malformed_json"}
    with pytest.raises(InvalidToolCall, match="malformed_json"):
        parse_call(call.tool, given)
    assert following.refused is None


async def test_watchers_read_sentences(desk):
    """What the model says is told sentence by sentence."""
    build = await desk.prepare()
    await desk.call(build)
    said = [event for event in await desk.events.read(build.build_id) if event.type == "agent.thinking"]

    assert [event.fields["text"] for event in said] == ["Nothing needs building here.", "(Asked 1 times.)"]
    assert said[0].fields["turn"] == 1


async def test_thinking_is_never_told(desk):
    """Thinking and text are kept apart: watchers, those who join late too, read the words for people only."""
    build = await desk.prepare(idea=LONG)
    reply = await desk.call(build)
    blocks = json.loads((await desk.transcript.path(reply.head))[-1].body)
    told = [event for event in await desk.events.read(build.build_id) if event.type == "agent.thinking"]

    assert [block["type"] for block in blocks] == ["thinking", "text", "tool_use"]
    assert blocks[0]["thinking"] == "Number 1 comes next."
    assert [event.fields["text"] for event in told] == [blocks[1]["text"]]


async def test_half_a_sentence_is_not_told(desk, control):
    """Of a stream that breaks off, watchers have read whole sentences only."""
    build = await desk.prepare()
    await control.faults({"kind": "cut", "after_events": 4})
    with pytest.raises(ApplicationError):
        await desk.call(build)
    told = await desk.events.read(build.build_id)

    assert ["agent.thinking", "agent.retrying"] == [event.type for event in told]
    assert "Nothing needs building here." == told[0].fields["text"]


@pytest.mark.parametrize("by", ["setting", "row", "suspension"])
async def test_switch_and_suspension_refuse(desk, make_desk, control, by):
    """The kill switch and a suspension refuse the next call of a running build and buy nothing."""
    build = await desk.prepare()
    worker = make_desk(autonomous_agent=False) if by == "setting" else desk
    if by == "row":
        await Accounts(desk.engine).switch(on=False)
    if by == "suspension":
        await desk.set_user(suspended=True)
    try:
        reply = await worker.call(build)
    finally:
        await Accounts(desk.engine).switch(on=True)

    assert reply.refused == (Refusal.SUSPENDED if by == "suspension" else Refusal.DISABLED)
    assert reply.head == build.head
    assert await control.requests() == []
    assert await desk.entries(build.build_id) == []


async def test_ceiling_shrinks_to_the_money(desk):
    """When only a shorter reply fits, it is asked for; never one under 2,000 tokens."""
    build = await desk.prepare()
    smallest = worst_case(build.model, input_tokens=3_000, max_tokens=2_000, at=None).microdollars
    await desk.set_money(smallest * 2)
    reply = await desk.call(build)
    [entry] = await desk.entries(build.build_id)

    assert reply.refused is None
    assert 2_000 <= entry["max_tokens"] < 16_000
    assert entry["reserved"] <= smallest * 2


async def test_refused_call_appends_nothing(desk):
    """A refusal leaves the transcript as it was, so that the notes may differ on waking."""
    build = await desk.prepare(idea=LONG)
    reply = await desk.call(build)
    await answer(desk, reply)
    await desk.set_money(reply.cost)
    refused = await desk.call(build, head=reply.head, notes=("Before sleep.",), turn=2)
    await desk.set_money(10_000_000)
    woken = await desk.call(build, head=reply.head, notes=("After sleep.",), turn=2)
    said = json.dumps([row.body for row in await desk.transcript.path(woken.head)])

    assert (refused.refused, refused.head) == (Refusal.SPENT, reply.head)
    assert refused.balance.left == 0
    assert refused.balance.worst_case > 0
    assert "Before sleep." not in said
    assert "After sleep." in said
