"""What an attempt that gave no reply may have cost, told by how it ended. Pure; knows the vendor's errors."""

import asyncio
from enum import Enum

import anthropic
import httpx2

from activities.provider import StrangeAnswer


class Bill(Enum):
    """What is booked of an attempt."""

    NOTHING = "nothing"  # refused, never reached, broken off before an answer, or no stream was answered
    DOUBTFUL = "doubtful"  # it was taken, and nothing was heard of it
    USED = "used"  # we hung up, or it said that it stopped: the input, and what had been given
    WORST = "worst"  # the stream broke: the input, and all the output it could give


def bill_for(error: BaseException, *, is_begun: bool) -> Bill:
    """Judge an attempt by what ended it, and by whether the provider had counted its input."""
    if isinstance(error, asyncio.CancelledError):
        return Bill.USED
    if is_begun:
        return Bill.USED if _is_told(error) else Bill.WORST
    return Bill.NOTHING if _did_nothing(error) else Bill.DOUBTFUL


def _is_told(error: BaseException) -> bool:
    """Tell whether the provider ended a stream by an error of its own; a proxy's has no type."""
    return isinstance(error, anthropic.APIStatusError) and error.type is not None


def _did_nothing(error: BaseException) -> bool:
    """Tell whether the provider did nothing; only one that took a request and kept still may be at it."""
    if isinstance(error, anthropic.APIConnectionError):
        return not isinstance(error.__cause__, httpx2.ReadTimeout)
    return isinstance(error, anthropic.APIStatusError | anthropic.CredentialsError | StrangeAnswer)
