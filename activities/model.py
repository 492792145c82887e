"""The model: one reply bought once, streamed, settled and appended. Knows the vendor's client, no table."""

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta

from anthropic import APIStatusError, AsyncAnthropic
from temporalio import activity
from temporalio.exceptions import ApplicationError
from typing_extensions import override

from activities.conversation import Conversation, preview, tool_calls
from activities.events import EventStream
from activities.failures import classified, classify, is_passing, is_too_long, mask
from activities.heartbeat import heartbeating
from activities.ledger import Ledger
from activities.losses import Bill, bill_for
from activities.orders import Bought, Delivery, Order, Refused, Reservation
from activities.provider import Provider
from activities.purchases import Purchases
from activities.questions import Question, Questions
from activities.reply import Reply
from activities.rows import dump
from activities.streaming import SILENCE, Sentences
from activities.transcript import Transcript
from workflows import ports
from workflows.errors import FailureType
from workflows.payload import PREVIEW_CHARS
from workflows.turns import ModelCall, ModelReply, Refusal

SMALL_QUESTION = 6_000
"""Bytes of a question that is counted as one token a byte instead of asking the provider."""
NO_SHORTER = (
    "The conversation does not fit the model and cannot be made shorter: the brief, its plan and the state "
    "of the work alone are too long. The files are saved. Shorten the brief or the plan, or choose a model "
    "with a larger context, and start the build again."
)
SETTLE_TRIES = 6
"""How often a whole reply is tried to be settled, at doubling intervals, while the database is away."""

log = logging.getLogger(__name__)


class Model(ports.Model):
    """Buys replies from Anthropic's Messages API."""

    def __init__(
        self,
        client: AsyncAnthropic,
        *,
        transcript: Transcript,
        purchases: Purchases,
        ledger: Ledger,
        events: EventStream,
        silence: timedelta = SILENCE,
    ) -> None:
        self._provider = Provider(client, silence=silence)
        self._transcript = transcript
        self._questions = Questions(transcript)
        self._purchases = purchases
        self._ledger = ledger
        self._events = events

    @activity.defn
    @override
    async def call_model(self, request: ModelCall) -> ModelReply:
        """Append the next user message, reserve, stream a reply, settle, append it; buy it once."""
        async with heartbeating(), classified():
            question = await self._questions.after(request.head, request.notes)
            made = await self._purchases.find(question.parent, question.text)
            if made is None:
                try:
                    made = await self._ask(request, question)
                except APIStatusError as error:
                    raise await self._shorten(request, question, error) from None
            if isinstance(made, Refused):
                return ModelReply(refused=made.reason, head=request.head, balance=made.balance)
            return await self._describe(request, made.reply_id)

    async def _ask(self, request: ModelCall, question: Question) -> Bought | Refused:
        """Reserve and buy, in a new epoch if the conversation has grown too dear."""
        others = await self._purchases.of_others(question.path, model=request.model)
        question = replace(question, foreign=others)
        tokens = await self._count(request, question)
        most = await self._purchases.ceiling(
            request.user,
            request.model,
            max_tokens=request.max_tokens,
            at=activity.info().started_time,
        )
        too_long = tokens > most or question.has_many_images or request.compact
        if too_long and not question.is_fresh:
            shorter = await self._questions.in_new_epoch(request.head, request.notes)
            if shorter is not None:
                question, tokens = shorter, await self._count(request, shorter)
            elif request.compact:
                raise _no_shorter()
        made = await self._reserve(request, question, tokens)
        if _is_too_dear(made) and not (too_long or question.is_fresh):
            # What no day can pay is made shorter before the founder is asked.
            shorter = await self._questions.in_new_epoch(request.head, request.notes)
            if shorter is not None:
                question, tokens = shorter, await self._count(request, shorter)
                made = await self._reserve(request, question, tokens)
        if isinstance(made, Reservation):
            return await self._buy(request, question.conversation(made.lifetime), made)
        return made

    async def _reserve(
        self, request: ModelCall, question: Question, tokens: int
    ) -> Reservation | Bought | Refused:
        order = Order(
            build_id=request.build_id,
            user=request.user,
            model=request.model,
            parent=question.parent,
            question=question.text,
            input_tokens=tokens,
            max_tokens=request.max_tokens,
            at=activity.info().started_time,
            lifetime=question.lifetime,
            turn=request.turn,
            attempt=activity.info().attempt,
            phase=request.phase,
            plan_item=request.plan_item,
            wound_down=request.wound_down,
        )
        made = await self._purchases.reserve(order)
        if isinstance(made, Refused) and order.lifetime == "1h":
            # The longer life is a saving on slow turns; it must not send a build to sleep.
            order = replace(order, lifetime="5m")
            made = await self._purchases.reserve(order)
        return made

    async def _shorten(self, request: ModelCall, question: Question, error: APIStatusError) -> Exception:
        """Open a new epoch if the provider finds the conversation too long, and have the call retried."""
        if not is_too_long(error):
            return classify(error)
        if question.is_fresh or not await self._questions.in_new_epoch(request.head, request.notes):
            return _no_shorter()
        return ApplicationError(
            "The conversation is too long for the model; it goes on in a shorter one.",
            type=FailureType.RETRYABLE,
        )

    async def _count(self, request: ModelCall, question: Question) -> int:
        """Bound the input: what the last reply was counted at and a small question, else as counted now."""
        added = len(question.text.encode())
        known = await self._purchases.tokens_up_to(question.parent.id, model=request.model)
        if known and added <= SMALL_QUESTION and '"type":"image"' not in question.text:
            return known + added
        conversation = question.conversation()
        counted = await self._provider.count(request.model, conversation)
        if counted is None:
            return len(dump([conversation.tools, conversation.system, conversation.messages]).encode())
        # The provider calls its count an estimate.
        return counted + counted // 50 + 50

    async def _buy(self, request: ModelCall, conversation: Conversation, reservation: Reservation) -> Bought:
        reply = Reply()
        try:
            request_id = await self._stream(request, conversation, reservation, reply)
            delivery = Delivery(
                body=reply.body(),
                usage=reply.usage,
                stop_reason=reply.stop_reason,
                request_id=request_id,
                why_refused=mask(reply.why_refused)[:PREVIEW_CHARS],
            )
        except BaseException as error:
            await asyncio.shield(self._give_up(request, reservation, error, reply))
            raise
        return Bought(reply_id=await self._settle(reservation, delivery))

    async def _stream(
        self, request: ModelCall, conversation: Conversation, reservation: Reservation, reply: Reply
    ) -> str:
        """Stream into `reply`, telling watchers each sentence; gives the provider's id of the request."""
        sentences = Sentences()
        await self._look_again(reservation)
        opening = self._provider.stream(request.model, conversation, max_tokens=reservation.max_tokens)
        async with opening as opened:
            async for event in opened.events:
                text = reply.add(event)
                if event.type == "message_start":
                    await self._note_input(reservation, reply)
                # Two blocks of text are two texts; what a cut stream leaves unfinished is not told.
                ended = sentences.rest if event.type == "content_block_stop" else list[str]
                for sentence in [*sentences.add(text), *ended()]:
                    await self._tell(request, sentence)
            return opened.request_id

    async def _tell(self, request: ModelCall, sentence: str) -> None:
        await self._events.publish(
            request.build_id, "agent.thinking", text=sentence, turn=request.turn, phase=request.phase
        )

    async def _look_again(self, reservation: Reservation) -> None:
        """See that no other attempt took over while this one stood still; raises a retryable error."""
        try:
            holds = await self._purchases.holds(reservation)
        except Exception as error:
            # It only saves a second purchase: a database that is away for a moment must not cost the call.
            if not is_passing(error):
                raise
            return
        if not holds:
            text = "Another attempt took over this call; this one has bought nothing."
            raise ApplicationError(text, type=FailureType.RETRYABLE)

    async def _note_input(self, reservation: Reservation, reply: Reply) -> None:
        try:
            await self._purchases.note_input(reservation, reply.usage)
        except Exception as error:
            # It only prices a crash closer: a database that is away for a moment must not cost the stream.
            if not is_passing(error):
                raise

    async def _settle(self, reservation: Reservation, delivery: Delivery) -> int:
        """Settle, holding on to a paid reply while the database is away."""
        for attempt in range(SETTLE_TRIES - 1):
            try:
                return await self._purchases.settle(reservation, delivery)
            except Exception as error:
                if not is_passing(error):
                    raise
                log.warning("A reply is held until the database answers (%s).", type(error).__name__)
                await asyncio.sleep(2**attempt)
        return await self._purchases.settle(reservation, delivery)

    async def _give_up(
        self, request: ModelCall, reservation: Reservation, error: BaseException, reply: Reply
    ) -> None:
        """Close the reservation; if that fails too, the next attempt or the janitor closes it."""
        try:
            await self._bill(reservation, error, reply)
        except Exception as failure:  # noqa: BLE001 the first error is the one to report
            log.warning("A reservation stays open for now (%s).", type(failure).__name__)
        if is_passing(error):
            attempt = activity.info().attempt
            await self._events.publish(
                request.build_id, "agent.retrying", attempt=attempt, error_type=type(error).__name__
            )

    async def _bill(self, reservation: Reservation, error: BaseException, reply: Reply) -> None:
        why = f"cut off by {type(error).__name__}"
        seen = reply.usage if reply.usage.input_tokens else reservation.input
        match bill_for(error, is_begun=reply.is_begun):
            case Bill.NOTHING:
                await self._purchases.release(reservation)
            case Bill.DOUBTFUL:
                await self._purchases.doubt(reservation, why=why)
            case Bill.USED:
                used = reply.used(seen, most=reservation.max_tokens)
                await self._purchases.lose(reservation, why=why, used=used)
            case Bill.WORST:
                used = replace(seen, output_tokens=reservation.max_tokens)
                await self._purchases.lose(reservation, why=why, used=used)

    async def _describe(self, request: ModelCall, reply_id: int) -> ModelReply:
        body = (await self._transcript.path(reply_id))[-1].body
        paid = await self._ledger.paid(reply_id, user=request.user, at=activity.info().started_time)
        calls = tool_calls(body)
        return ModelReply(
            head=reply_id,
            stop_reason=paid.stop_reason,
            preview=paid.note or preview(body, calls),
            tool_calls=calls,
            input_tokens=paid.input_tokens,
            cache_read_tokens=paid.cache_read_tokens,
            output_tokens=paid.output_tokens,
            cost=paid.cost,
            overrun=paid.overrun,
            balance=paid.balance,
        )


def _is_too_dear(made: Reservation | Bought | Refused) -> bool:
    return isinstance(made, Refused) and made.reason is Refusal.TOO_DEAR


def _no_shorter() -> ApplicationError:
    return ApplicationError(NO_SHORTER, type=FailureType.MODEL_REJECTED, non_retryable=True)
