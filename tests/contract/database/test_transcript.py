"""Rows and results are written once and read back as they were."""

import asyncio
import json
import uuid
from typing import Any

import pytest
from sqlalchemy import insert
from temporalio.exceptions import ApplicationError

from activities.rows import Row, dump
from activities.tables import sandboxes
from activities.transcript import Transcript
from workflows.errors import FailureType


async def grow(engine: Any, transcript: Transcript, bodies: list[Any], *, build_id: str = "") -> list[int]:
    """Append a root and these bodies under each other."""
    build_id = build_id or uuid.uuid4().hex
    ids: list[int] = []
    async with engine.begin() as connection:
        for number, body in enumerate([{"system": [], "tools": []}, *bodies]):
            role = "system" if not number else ("user" if number % 2 else "assistant")
            parent = ids[-1] if ids else None
            ids.append(
                await transcript.append(
                    connection, build_id=build_id, parent_id=parent, role=role, body=dump(body)
                )
            )
    return ids


async def test_path_is_read_as_it_was_written(engine):
    """Another worker reads the same text in the same order, key order included."""
    transcript = Transcript(engine)
    ids = await grow(engine, transcript, [[{"b": 1, "a": "é\u0000\u2028"}], [{"z": [1.0, 1e30]}]])
    path = await Transcript(engine).path(ids[-1])

    assert [row.id for row in path] == ids
    assert path == await transcript.path(ids[-1])
    assert path[1].body == '[{"b":1,"a":"é\\u0000\u2028"}]'


async def test_same_words_are_appended_once(engine):
    """Appending again, from many workers at once, gives the row that is there; also for the root."""
    build_id = uuid.uuid4().hex
    grown = await asyncio.gather(
        *(grow(engine, Transcript(engine), [["a"], ["b"]], build_id=build_id) for _ in range(8))
    )

    assert all(ids == grown[0] for ids in grown)


async def test_fork_keeps_both_branches(engine):
    """Two answers to one row are two heads, each with its own path."""
    transcript = Transcript(engine)
    build_id = uuid.uuid4().hex
    first = await grow(engine, transcript, [["a"], ["b"]], build_id=build_id)
    second = await grow(engine, transcript, [["a"], ["c"]], build_id=build_id)

    assert first[:2] == second[:2]
    assert [row.body for row in await transcript.path(first[2])][2:] == ['["b"]']
    assert [row.body for row in await transcript.path(second[2])][2:] == ['["c"]']


async def test_new_epoch_ends_the_path(engine):
    """A path begins at the nearest system row, though its parent is known."""
    transcript = Transcript(engine)
    ids = await grow(engine, transcript, [["a"]])
    async with engine.begin() as connection:
        root = (await transcript.path(ids[-1]))[0]
        again = await transcript.append(
            connection, build_id=root.build_id, parent_id=ids[-1], role="system", body="{}", epoch=1
        )
        head = await transcript.append(
            connection, build_id=root.build_id, parent_id=again, role="user", body="[]", epoch=1
        )

    assert [row.id for row in await Transcript(engine).path(head)] == [again, head]
    assert [row.id for row in await transcript.path(head)] == [again, head]


async def test_unknown_head_is_a_bug(engine):
    """A head that does not exist fails at once."""
    with pytest.raises(ApplicationError, match="does not exist") as caught:
        await Transcript(engine).path(2**40)

    assert caught.value.non_retryable


async def test_first_result_stays(engine):
    """A call has one result, whoever writes it first; a second writer gets the first one's."""
    transcript = Transcript(engine)
    ids = await grow(engine, transcript, [["a"], [{"type": "tool_use", "id": "t1", "input": {"x": 1}}]])
    head = ids[-1]
    written = await asyncio.gather(
        *(
            transcript.write_result(
                head, "t1", content=f"r{n}", is_error=False, generation=1, preview=f"r{n}"
            )
            for n in range(8)
        )
    )

    assert all(each == written[0] for each in written)
    assert await transcript.results_for(head) == {"t1": written[0]}
    assert await transcript.result(head, "t2") is None
    assert await transcript.tool_input(head, "t1") == {"x": 1}


async def test_result_is_a_whole_block(engine):
    """The stored text is the block that is sent; an error says so; odd characters do no harm."""
    transcript = Transcript(engine)
    head = (await grow(engine, transcript, [["a"], ["b"]]))[-1]
    good = await transcript.write_result(head, "t1", content="ok\ud800\x00", is_error=False, generation=1)
    bad = await transcript.write_result(
        head, "t2", content="no", is_error=True, generation=1, preview="a\x00\ud800b"
    )

    assert json.loads(good.body) == {"type": "tool_result", "tool_use_id": "t1", "content": "ok\ufffd\x00"}
    assert json.loads(bad.body)["is_error"] is True
    assert bad.preview == "a\ufffdb"


async def test_start_is_noted_before_the_first_attempt(engine):
    """The first attempt hears nothing; each later one hears the generation of the first."""
    transcript = Transcript(engine)
    head = (await grow(engine, transcript, [["a"], ["b"]]))[-1]

    assert await transcript.note_start(head, "t1", generation=1) is None
    assert await transcript.note_start(head, "t1", generation=2) == 1
    assert await transcript.note_start(head, "t1", generation=3) == 1


async def test_result_of_a_replaced_sandbox_is_not_kept(engine):
    """Once a newer sandbox holds the build, an older one starts and ends no call; what was kept stays."""
    transcript = Transcript(engine)
    head = (await grow(engine, transcript, [["a"], ["b"]]))[-1]
    build_id = (await transcript.path(head))[0].build_id
    early = await transcript.write_result(head, "t1", content="early", is_error=False, generation=1)
    async with engine.begin() as connection:
        await connection.execute(
            insert(sandboxes).values(build_id=build_id, role="build", generation=2, state="live")
        )
    with pytest.raises(ApplicationError) as caught:
        await transcript.write_result(head, "t2", content="late", is_error=False, generation=1)
    with pytest.raises(ApplicationError, match="t3 was not begun: sandbox generation 1"):
        await transcript.note_start(head, "t3", generation=1)

    assert await transcript.note_start(head, "t3", generation=2) is None
    assert await transcript.note_start(head, "t3", generation=1) == 2
    assert caught.value.type == FailureType.SANDBOX_LOST
    assert await transcript.write_result(head, "t1", content="x", is_error=False, generation=1) == early
    assert await transcript.result(head, "t2") is None


async def test_rows_are_read_once(engine):
    """A worker that appended or read a path does not ask the database for it again."""
    transcript = Transcript(engine)
    ids = await grow(engine, transcript, [["a"], ["b"]])
    reader = Transcript(engine)
    await reader.path(ids[-1])
    await engine.dispose()

    for known in (transcript, reader):
        assert len(known._cache.path(ids[-1]) or ()) == 3
    assert isinstance((await reader.path(ids[1]))[-1], Row)
