"""Hundreds of reservations at once, by many builds of one user, with attempts that die at any moment."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from temporalio.exceptions import ApplicationError

from activities.money_tables import MODEL, SANDBOX, days, ledger
from activities.orders import Bought, Delivery, Order, Refused, Reservation
from activities.prices import Usage
from activities.purchases import Purchases
from activities.rows import Row
from activities.sandbox_rows import SandboxRow, SandboxRows
from activities.sandbox_time import SandboxTime
from activities.settings import Settings
from activities.tables import transcript
from activities.transcript import Transcript
from workflows.models import PreparedBuild
from workflows.turns import Refusal

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
BUILDS = 25
ATTEMPTS = 240
"""Tasks that begin at the same moment: nine or ten of each build, as if each was tried so often."""
PRICE = 45_000
"""Worst case of an order: 10,000 tokens in at $2.50 and 2,000 out at $10 a million."""
WORKERS = 3
CRASHES = ("vanish", "cut reserve", "cut settle", "heard and vanish")
RATE = Decimal(5)
"""Of sandbox time, microdollars a second: half an hour ahead is 9,000."""
SESSION = 1_500
"""How long a sandbox runs at most, seconds: within what is set aside ahead."""
ENDS = ("settle", "settle", "settle", "settle twice", "late settle", "lose", "doubt", "release", *CRASHES)


@dataclass
class Scene:
    """What the attempts of one schedule share."""

    workers: list[Purchases]
    transcripts: list[Transcript]
    builds: list[PreparedBuild]
    chance: random.Random
    sandboxes: list[SandboxRow] = field(default_factory=list[SandboxRow])
    """One a build, running since the beginning."""
    times: list[SandboxTime] = field(default_factory=list[SandboxTime])
    """Of each worker, at whose clock is the minute of the attempt."""
    clock: list[datetime] = field(default_factory=lambda: [NOON])
    reserved: set[int] = field(default_factory=set)
    """Reservations that an attempt was told of."""
    replies: dict[int, int] = field(default_factory=dict)
    """Reservation → the reply that it was settled with."""
    verdicts: Counter[str] = field(default_factory=Counter)


@pytest.fixture
async def workers(settings: Settings) -> AsyncIterator[list[AsyncEngine]]:
    """The pools of several workers."""
    url = settings.database_url.get_secret_value()
    engines = [create_async_engine(url, pool_size=12, max_overflow=0) for _ in range(WORKERS)]
    yield engines
    for engine in engines:
        await engine.dispose()


def delivery(reservation: Reservation, chance: random.Random) -> Delivery:
    """A whole reply, of any price that the reservation covers."""
    usage = Usage(input_tokens=9_000, output_tokens=chance.randrange(reservation.max_tokens + 1))
    return Delivery(
        body='[{"type":"text","text":"Done."}]', usage=usage, stop_reason="end_turn", request_id="r"
    )


async def cut(work: Coroutine[Any, Any, Any], chance: random.Random) -> Any:
    """Let work go on for a moment and cancel it, wherever it stands."""
    task = asyncio.create_task(work)
    for _ in range(chance.randrange(40)):
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError, ApplicationError):
        return await task


def order_of(build: PreparedBuild, parent: Row, question: str, *, at: datetime) -> Order:
    """What each attempt here asks for."""
    return Order(
        build_id=build.build_id,
        user=build.user,
        model=build.model,
        parent=parent,
        question=question,
        input_tokens=10_000,
        max_tokens=2_000,
        at=at,
    )


async def attempt(scene: Scene, number: int, at: datetime) -> None:
    """One attempt at a call, as an activity makes it: reserve, then come to some end or to none."""
    chance, worker = random.Random(scene.chance.random()), number % WORKERS
    purchases, build = scene.workers[worker], scene.builds[number % BUILDS]
    parent = (await scene.transcripts[worker].path(build.head))[-1]
    order = order_of(build, parent, f'[{{"type":"text","text":"{chance.randrange(4)}"}}]', at=at)
    end = chance.choice(ENDS)
    scene.clock[0] = at
    if chance.random() < 0.3:
        await pass_by(scene, number, chance)
    if end == "cut reserve":
        await cut(purchases.reserve(order), chance)
        return
    made = await purchases.reserve(order)
    scene.verdicts[made.reason if isinstance(made, Refused) else type(made).__name__] += 1
    if isinstance(made, Refused):
        hold = made.balance
        if made.reason is Refusal.SPENT:
            assert PRICE > hold.allowance - hold.settled - hold.lost, "it sleeps beside free money"
    elif isinstance(made, Reservation):
        scene.reserved.add(made.id)
        await close(scene, purchases, made, end, chance)


async def buy(scene: Scene, build: PreparedBuild, at: datetime) -> None:
    """A call that nothing disturbs."""
    parent = (await scene.transcripts[0].path(build.head))[-1]
    made = await scene.workers[0].reserve(order_of(build, parent, '[{"type":"text","text":"calm"}]', at=at))
    assert isinstance(made, Reservation)
    await settle(scene, scene.workers[0], made, scene.chance, times=1)


async def pass_by(scene: Scene, number: int, chance: random.Random) -> None:
    """Book sandbox time, as the steps between calls do, whole or cut off anywhere; now and then, pause."""
    time, row = scene.times[number % WORKERS], scene.sandboxes[number % BUILDS]
    work = time.end(row) if chance.random() < 0.2 else time.renew(row.build_id)
    await (cut(work, chance) if chance.random() < 0.3 else work)


async def close(
    scene: Scene, purchases: Purchases, made: Reservation, end: str, chance: random.Random
) -> None:
    """Bring a reservation to an end."""
    for _ in range(chance.randrange(20)):
        await asyncio.sleep(0)
    if end in ("heard and vanish", "lose"):
        await purchases.note_input(made, Usage(input_tokens=9_000, cache_write_tokens=9_000))
    match end:
        case "lose":
            await purchases.lose(made, why="cut off")
        case "doubt":
            await purchases.doubt(made, why="nothing was heard")
        case "release":
            await purchases.release(made)
        case "cut settle":
            await cut(purchases.settle(made, delivery(made, chance)), chance)
        case "settle" | "settle twice" | "late settle":
            await settle(scene, purchases, made, chance, times=2 if end == "settle twice" else 1)
        case _:
            pass


async def settle(
    scene: Scene, purchases: Purchases, made: Reservation, chance: random.Random, *, times: int
) -> None:
    """Settle, once more where the answer to the first was lost; a superseded attempt hears so."""
    reply = delivery(made, chance)
    with suppress(ApplicationError):
        for _ in range(times):
            reply_id = await purchases.settle(made, reply)
            assert reply_id == scene.replies.setdefault(made.id, reply_id)


async def watch(engine: AsyncEngine, user: str, over: asyncio.Event) -> list[int]:
    """Look at the user's days again and again; gives what was left of the fullest one each time."""
    owed = func.sum(ledger.c.cost) + func.coalesce(
        func.sum(ledger.c.reserved).filter(ledger.c.state == "reserved"), 0
    )
    query = (
        select(days.c.allowance + days.c.added - owed)
        .join(ledger, (ledger.c.user_id == days.c.user_id) & (ledger.c.day == days.c.day))
        .where(days.c.user_id == user)
        .group_by(days.c.day, days.c.allowance, days.c.added)
    )
    seen: list[int] = []
    async with engine.connect() as connection:
        while not over.is_set():
            found = [int(left) for left in (await connection.execute(query)).scalars()]
            seen.append(min(found, default=0))
            await connection.rollback()
            await asyncio.sleep(0)
    return seen


async def make_scene(
    desk: Any, workers: list[AsyncEngine], settings: Settings, seed: int, *, rate: Decimal = Decimal(0)
) -> Scene:
    """Many builds of one user, on several workers."""
    transcripts = [Transcript(engine) for engine in workers]
    settings = settings.model_copy(update={"sandbox_microdollars_per_second": rate})
    return Scene(
        workers=[Purchases(engine, own, settings) for engine, own in zip(workers, transcripts, strict=True)],
        transcripts=transcripts,
        builds=[await desk.prepare() for _ in range(BUILDS)],
        chance=random.Random(seed),
    )


async def run_sandboxes(scene: Scene, desk: Any, workers: list[AsyncEngine], settings: Settings) -> None:
    """Let each build have a sandbox that costs money."""
    own = settings.model_copy(
        update={"sandbox_microdollars_per_second": RATE, "sandbox_timeout_seconds": SESSION}
    )
    scene.times = [SandboxTime(engine, own, now=lambda: scene.clock[0]) for engine in workers]
    rows = SandboxRows(desk.engine)
    for build in scene.builds:
        await scene.times[0].renew(build.build_id)
        row = await rows.open(build.build_id, role="build", generation=1)
        await scene.times[0].begin(row, anew=True)
        scene.sandboxes.append(await rows.note(row, state="live", sandbox_id=build.build_id))


async def rows_of(desk: Any) -> list[dict[str, Any]]:
    async with desk.engine.connect() as connection:
        found = await connection.execute(select(ledger).filter_by(user_id=desk.user))
        return [dict(row) for row in found.mappings()]


@pytest.mark.parametrize("seed", range(4))
async def test_the_allowance_holds_whatever_dies(desk, workers, settings, seed: int):
    """Settled, reserved and lost never pass the allowance; no call counts twice, no row is missing."""
    scene = await make_scene(desk, workers, settings, seed, rate=RATE)
    midnights = [NOON, NOON + timedelta(days=1)]
    for at in midnights:
        await desk.set_money(PRICE * 60 + 1, day=at.date())
    await run_sandboxes(scene, desk, workers, settings)
    over = asyncio.Event()
    watching = asyncio.create_task(watch(desk.engine, desk.user, over))
    # A third of them comes in while the day changes.
    times = [
        midnights[number % 3 == 0] + timedelta(seconds=scene.chance.randrange(SESSION))
        for number in range(ATTEMPTS)
    ]
    await asyncio.gather(*(attempt(scene, number, at) for number, at in enumerate(times)))
    # In the crowd each settlement may come too late; alone, on a day with money, none does.
    after = scene.clock[0] = NOON + timedelta(days=2)
    await desk.set_money(PRICE * 60 + 1, day=after.date())
    for build in scene.builds:
        await buy(scene, build, after)
    over.set()
    left = await watching
    await scene.times[0].end_expired()
    rows, time_rows = by_kind(await rows_of(desk))
    settled = [row for row in rows if row["state"] == "settled"]

    assert len(left) > 20
    assert min(left) >= 0
    assert scene.reserved <= {row["id"] for row in rows}
    assert scene.replies.items() <= {row["id"]: row["reply_id"] for row in settled}.items()
    assert max(Counter(row["message_id"] for row in settled).values()) == 1
    assert (
        max(Counter(row["build_id"] for row in rows if row["state"] == "reserved").values(), default=0) <= 1
    )
    assert all(row["cost"] <= row["reserved"] for row in rows)
    assert all((row["closed_at"] is None) == (row["state"] == "reserved") for row in rows)
    assert await replies_of(desk, scene) == len(settled)
    assert {"settled", "lost"} <= {row["state"] for row in rows}
    assert scene.verdicts["Reservation"] > 60
    assert sum(row["cost"] for row in time_rows) == sum(
        int(RATE) * row["microseconds"] // 1_000_000 for row in time_rows
    )
    assert all(row["microseconds"] <= SESSION * 1_000_000 for row in time_rows)
    assert len({row["build_id"] for row in time_rows}) == BUILDS


def by_kind(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Give the rows of calls, and those of sandbox time."""
    calls, times = ([row for row in rows if row["kind"] == kind] for kind in (MODEL, SANDBOX))
    return calls, times


async def replies_of(desk: Any, scene: Scene) -> int:
    """How many replies the conversations hold."""
    query = select(func.count()).where(
        transcript.c.role == "assistant", transcript.c.build_id.in_([each.build_id for each in scene.builds])
    )
    async with desk.engine.connect() as connection:
        return (await connection.execute(query)).scalar_one()


async def test_busy_builds_get_their_turn(desk, workers, settings):
    """Refused because others hold the money, each build gets it once they settled; none is sent to sleep."""
    scene = await make_scene(desk, workers, settings, 0)
    cheap = Usage(input_tokens=1_000, output_tokens=10)
    await desk.set_money(PRICE * 3)
    turns, refused = Counter[str](), asyncio.Event()

    async def live(number: int, build: PreparedBuild) -> None:
        purchases = scene.workers[number % WORKERS]
        parent = (await scene.transcripts[number % WORKERS].path(build.head))[-1]
        order = order_of(build, parent, "", at=NOON)
        while isinstance(made := await purchases.reserve(order), Refused):
            turns[made.reason] += 1
            refused.set()
            await asyncio.sleep(0)
        assert not isinstance(made, Bought)
        await refused.wait()
        reply = Delivery(body="[]", usage=cheap, stop_reason="end_turn", request_id="r")
        await purchases.settle(made, reply)
        turns["bought"] += 1

    # The day pays for three at the worst price, and for all at what they turn out to cost.
    async with asyncio.timeout(60):
        await asyncio.gather(*(live(number, build) for number, build in enumerate(scene.builds)))

    assert turns["bought"] == BUILDS
    assert turns[Refusal.BUSY] > 0
    assert turns[Refusal.SPENT] == 0


async def test_an_attempt_after_midnight_takes_over_the_one_before(desk, workers, settings):
    """Two attempts at one call, begun on either side of midnight, leave one open reservation at most."""
    scene = await make_scene(desk, workers, settings, 1)
    for day in (date(2026, 11, 23), date(2026, 11, 24)):
        await desk.set_money(PRICE * 200, day=day)
    evening = datetime(2026, 11, 23, 23, 59, tzinfo=UTC)
    morning = evening + timedelta(minutes=2)

    async def ask(number: int, build: PreparedBuild, at: datetime) -> Reservation | Bought | Refused:
        parent = (await scene.transcripts[number % WORKERS].path(build.head))[-1]
        order = order_of(build, parent, '[{"type":"text","text":"again"}]', at=at)
        return await scene.workers[number % WORKERS].reserve(order)

    asked = (
        ask(number + shift, build, at)
        for number, build in enumerate(scene.builds)
        for shift, at in enumerate((evening, morning))
    )
    made = await asyncio.gather(*asked)
    rows = await rows_of(desk)

    assert all(isinstance(each, Reservation) for each in made)
    assert Counter(row["state"] for row in rows) == {"reserved": BUILDS, "lost": BUILDS}
