"""A conversation that has grown too dear or too long goes on in a new epoch, or ends with a clear word."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities.model import NO_SHORTER
from activities.questions import MOST_IMAGES
from tests.contract.database.conftest import NOON
from workflows.errors import FailureType
from workflows.models import PreparedBuild
from workflows.turns import ModelReply, Refusal

LINES = "the quick brown fox\n" * 200


async def answer(desk: Any, reply: ModelReply, content: Any = "ok\n") -> None:
    """Give every tool call of a reply a result."""
    for call in reply.tool_calls:
        await desk.transcript.write_result(
            reply.head, call.tool_use_id, content=content, is_error=False, generation=1, preview="ok"
        )


async def grown(
    desk: Any, control: Any, *, turns: int, said: str = LINES, **request: Any
) -> tuple[PreparedBuild, ModelReply, set[str]]:
    """Let a build make some turns; gives the last reply and the digests of all calls."""
    build = await desk.prepare(**{"idea": "[[script:long turns=90]] Count."} | request)
    reply = await desk.call(build)
    made = {call.digest for call in reply.tool_calls}
    for turn in range(2, turns + 1):
        await answer(desk, reply, f"long turn {turn - 1} of 90\n{said}")
        reply = await desk.call(build, head=reply.head, turn=turn)
        made |= {call.digest for call in reply.tool_calls}
    await answer(desk, reply, f"long turn {turns} of 90\n{said}")
    await control.reset()
    return build, reply, made


async def hold_ceiling(desk: Any, tokens: int) -> None:
    """Give the user a day whose money wants the input of a call held to so many tokens."""
    # 15 % of a day at 2.5 microdollars a token.
    money = tokens * 5 // 2 * 100 // 15
    await desk.set_user(cycle_budget=30 * money)
    await desk.set_money(money)


async def test_conversation_over_its_ceiling_goes_on_in_a_new_epoch(desk, make_desk, control):
    """When input would cost over 15 % of a day, the state is rendered anew; every later call stays there.

    The tokens fall by at least half, the next calls are no repeats, and the old epoch is kept.
    """
    build, reply, made = await grown(desk, control, turns=20)
    await hold_ceiling(desk, reply.input_tokens)
    first = await desk.call(build, head=reply.head, turn=21)
    path = await desk.transcript.path(first.head)
    await answer(desk, first, "long turn 21 of 90\n")
    second = await make_desk().call(build, head=first.head, turn=22)

    assert [row.role for row in path] == ["system", "user", "assistant"]
    assert path[0].body == (await desk.transcript.path(reply.head))[0].body
    assert path[0].epoch == 1
    assert first.input_tokens <= reply.input_tokens // 2
    assert {call.digest for call in (*first.tool_calls, *second.tool_calls)}.isdisjoint(made)
    assert first.tool_calls[0].label.startswith("# turn 21 ")
    assert "# Where we are" in path[1].body
    assert len(await make_desk().transcript.path(second.head)) == 5
    assert (await make_desk().call(build, head=reply.head, turn=21)).head == first.head


async def test_what_no_day_can_pay_is_shortened_before_anyone_is_asked(desk, control):
    """Too dear comes after the new epoch, and asking again opens no other; nothing is set aside."""
    build, reply, _ = await grown(desk, control, turns=20)
    await desk.set_user(cycle_budget=30)
    await desk.set_money(1)
    asked = [await desk.call(build, head=reply.head, turn=21) for _ in range(2)]
    opened = await desk.transcript.epoch_at(reply.head)

    assert [Refusal.TOO_DEAR] * 2 == [one.refused for one in asked]
    assert opened is not None
    assert len({one.balance.worst_case for one in asked}) == 1
    assert "reserved" not in {entry["state"] for entry in await desk.entries(build.build_id)}


async def test_sandbox_time_can_make_a_call_too_dear_and_an_epoch_mend_it(desk, make_desk, control):
    """Under the ceiling, but with the sandbox time after it dearer than a day: a shorter one still fits."""
    build, reply, _ = await grown(desk, control, turns=20)
    at_most = reply.input_tokens * 2  # what follows the reply is in it
    money = at_most * 5 // 2 * 100 // 15
    await desk.set_user(cycle_budget=30 * money)
    tomorrow = NOON + timedelta(days=1)
    await desk.set_money(money, day=tomorrow.date())
    # Half an hour leaves room for 2,000 tokens of output and 60 % of the input.
    rate = Decimal(money - 20_000 - reply.input_tokens * 3 // 2) / 1_800
    dear = make_desk(sandbox_microdollars_per_second=rate)
    following = await dear.call(build, head=reply.head, turn=21, at=tomorrow)

    assert following.refused is None
    assert following.input_tokens <= reply.input_tokens // 2
    assert {row.epoch for row in await desk.transcript.path(following.head)} == {1}


async def test_an_epoch_that_would_not_halve_the_tokens_is_not_opened(desk, control):
    """A short conversation over the ceiling goes on as it is: epoch after epoch would gain nothing."""
    build, reply, _ = await grown(desk, control, turns=3)
    await hold_ceiling(desk, reply.input_tokens)
    following = await desk.call(build, head=reply.head, turn=4)

    assert following.refused is None
    assert {row.epoch for row in await desk.transcript.path(following.head)} == {0}
    assert following.input_tokens > reply.input_tokens


async def test_prompt_that_the_model_finds_too_long_is_shortened(desk, control):
    """When the provider calls the conversation too long, the retry asks in a new epoch."""
    build, reply, _ = await grown(desk, control, turns=20)
    await control.limits(max_input_tokens=reply.input_tokens)
    with pytest.raises(ApplicationError, match="shorter") as caught:
        await desk.call(build, head=reply.head, turn=21)
    shortened = await desk.call(build, head=reply.head, turn=21)

    assert caught.value.type == FailureType.RETRYABLE
    assert shortened.input_tokens <= reply.input_tokens // 2
    assert [entry["state"] for entry in await desk.entries(build.build_id)][-1] == "settled"


@pytest.mark.parametrize("turns", [1, 20])
async def test_what_cannot_be_made_shorter_ends_with_a_clear_word(desk, control, turns):
    """Too long at the start of a build or of an epoch: no loop, but what to do, and no money set aside."""
    build, reply, _ = await grown(desk, control, turns=turns)
    await control.limits(max_input_tokens=100)
    failures: list[ApplicationError] = []
    while not failures or not failures[-1].non_retryable:
        with pytest.raises(ApplicationError) as caught:
            await desk.call(build, head=reply.head, turn=turns + 1)
        failures.append(caught.value)

    assert [failure.type for failure in failures] == [
        *([FailureType.RETRYABLE] if turns > 1 else []),
        FailureType.MODEL_REJECTED,
    ]
    assert "Shorten the brief or the plan, or choose a model with a larger context" in failures[-1].message
    assert {entry["state"] for entry in await desk.entries(build.build_id)} == {"settled", "released"}


@pytest.mark.parametrize("kind", ["too_large", "over_limit"])
async def test_other_words_for_too_long_open_an_epoch_too(desk, control, kind):
    """A request of too many bytes, and one whose output does not fit beside it, go on in a shorter one."""
    build, reply, _ = await grown(desk, control, turns=20)
    await control.faults({"kind": kind})
    with pytest.raises(ApplicationError, match="shorter") as caught:
        await desk.call(build, head=reply.head, turn=21)
    shortened = await desk.call(build, head=reply.head, turn=21)

    assert caught.value.type == FailureType.RETRYABLE
    assert shortened.input_tokens <= reply.input_tokens // 2


async def test_a_full_context_that_cannot_shrink_ends_at_once(desk, control):
    """After a reply that filled the context, the same long request is not bought again."""
    build, reply, _ = await grown(desk, control, turns=3)
    with pytest.raises(ApplicationError) as caught:
        await desk.call(build, head=reply.head, turn=4, compact=True)

    assert (caught.value.type, caught.value.message) == (FailureType.MODEL_REJECTED, NO_SHORTER)
    assert caught.value.non_retryable
    assert await control.requests() == []


async def test_a_full_context_goes_on_in_a_new_epoch(desk, control):
    """Where it can shrink it does, and a retry of that call asks in the epoch that was opened."""
    build, reply, _ = await grown(desk, control, turns=20)
    await control.faults({"kind": "overloaded"})
    with pytest.raises(ApplicationError):
        await desk.call(build, head=reply.head, turn=21, compact=True)
    shortened = await desk.call(build, head=reply.head, turn=21, compact=True)

    assert shortened.input_tokens <= reply.input_tokens // 2


def picture() -> dict[str, Any]:
    return {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/webp", "data": "UklGRgAA" * 4_000},
    }


async def test_images_leave_when_there_are_many(desk):
    """Above 15 images a new epoch is opened: they leave, but for those not seen yet, and words stay."""
    build = await desk.prepare(idea="[[script:long turns=90]] Count.")
    reply, turn = await desk.call(build), 1
    while turn * 2 <= MOST_IMAGES + 1:
        beside = {"type": "text", "text": f"long turn {turn} of 90\nkept as {turn}"}
        await answer(desk, reply, [beside, picture(), picture()])
        turn += 1
        reply = await desk.call(build, head=reply.head, turn=turn)
    question = (await desk.transcript.path(reply.head))[-2]
    blocks = json.loads(question.body)

    assert question.epoch == 1
    assert [block["type"] for block in blocks] == ["text", "text", "image", "image"]
    assert f"kept as {turn - 1}\n(image)" in blocks[1]["text"]
    assert reply.tool_calls[0].label.startswith(f"# turn {turn} ")
