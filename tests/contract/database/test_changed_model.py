"""A build whose model is changed midway: what the new one is sent, and what it is reserved at."""

from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import select

from activities.money_tables import ledger
from activities.prices import worst_case
from workflows.models import ChooseModel, PreparedBuild
from workflows.turns import ModelReply

SONNET, HAIKU, OPUS = "claude-sonnet-5-5", "claude-haiku-5-5", "claude-opus-5"
MODELS = [SONNET, SONNET, HAIKU, HAIKU, SONNET, OPUS, SONNET, HAIKU]
"""Turn by turn; the last but two signs no thinking."""


async def played(desk: Any, models: list[str]) -> tuple[PreparedBuild, list[ModelReply]]:
    """Let a build make a turn with each model, as `set_model` would have it."""
    await desk.give(tier="cto_scale")
    build, replies = await desk.prepare(idea="[[script:long turns=90]] Count.", model=SONNET), []
    head = build.head
    for turn, model in enumerate(models, 1):
        reply = await desk.call(build, model=model, head=head, turn=turn)
        for call in reply.tool_calls:
            await desk.transcript.write_result(
                reply.head, call.tool_use_id, content="ok\n", is_error=False, generation=1, preview="ok"
            )
        replies.append(reply)
        head = reply.head
    return build, replies


async def test_another_model_is_sent_no_thinking_that_it_cannot_read(desk, control):
    """No call is refused, to and fro; what each model is sent starts with all that it was sent before."""
    _, replies = await played(desk, MODELS)
    kinds = [row.body.count('"type":"thinking"') for row in await desk.transcript.path(replies[-1].head)]
    sent = [(each["model"], each["digests"]["messages"]) for each in await control.requests()]

    assert [None] * len(MODELS) == [each.refused for each in replies]
    assert MODELS == [model for model, _ in sent]
    assert sum(kinds) > len(MODELS) // 2
    for model in set(MODELS):
        own = [digests for each, digests in sent if each == model]
        assert all(earlier == later[: len(earlier)] for earlier, later in pairwise(own)), model


async def test_a_call_is_reserved_at_the_new_models_price(desk):
    """And by its own count of the whole conversation, not by what the other model's tokens came to."""
    build, _ = await played(desk, [SONNET, SONNET, OPUS])
    entry = (await desk.entries(build.build_id))[-1]
    counted = entry["input_tokens"] + entry["input_tokens"] // 50 + 50
    dearest = worst_case(OPUS, input_tokens=counted, max_tokens=entry["max_tokens"], at=None)

    assert (dearest.microdollars, dearest.price_id) == (entry["reserved"], entry["price_id"])
    assert 0 < entry["cost"] <= entry["reserved"]


@pytest.mark.parametrize("asked", [HAIKU, ""])
async def test_a_chosen_model_is_in_the_builds_row(desk, asked):
    """The plan's own where none is named; the next reply is bought of it."""
    build = await desk.prepare(model=HAIKU)
    chosen = await desk.run(
        desk.builds.choose_model, ChooseModel(build_id=build.build_id, user=build.user, model=asked)
    )
    reply = await desk.call(build, model=chosen)
    async with desk.engine.connect() as connection:
        noted = (await connection.execute(select(ledger.c.model).filter_by(reply_id=reply.head))).scalar_one()

    assert (asked or SONNET) == chosen == noted
