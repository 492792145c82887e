"""The server's end of the channel to a guest: asks in single messages, receives sockets of its namespace.

What answers may be hostile code, so an answer is only ever text and descriptors.
"""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress

ANSWER_SECONDS = 60.0
ANSWER_BYTES = 4096
MOST_DESCRIPTORS = 16

Answer = tuple[bytes, list[int]]


class GuestGoneError(ConnectionError):
    """The sandbox's guest has ended or does not answer."""


class Channel:
    """One guest's channel."""

    def __init__(self, end: socket.socket, *, on_close: Callable[[], None]) -> None:
        self._end = end
        self._on_close = on_close
        self._sending = asyncio.Lock()
        self._answers: deque[asyncio.Future[Answer]] = deque()
        self._closed = False
        end.setblocking(False)
        asyncio.get_running_loop().add_reader(end.fileno(), self._receive)

    async def ask(self, message: bytes) -> list[socket.socket]:
        """Send a message and return the sockets it is answered with.

        Raises:
            GuestGoneError: the guest has ended, refused, or did not answer in time.

        """
        if self._closed:
            raise GuestGoneError("The sandbox's guest has ended.")
        try:
            answer = await self._send(message)
            text, descriptors = await asyncio.wait_for(answer, ANSWER_SECONDS)
        except (OSError, TimeoutError) as error:
            raise GuestGoneError(f"The sandbox's guest does not answer: {error}") from error
        sockets = _sockets(descriptors)
        if text != b"ok":
            raise GuestGoneError(f"The sandbox's guest refused: {text.decode(errors='replace')}")
        return sockets

    async def _send(self, message: bytes) -> asyncio.Future[Answer]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        async with self._sending:
            # Answers come in the order of the questions; one nobody waits for any more still has its turn.
            self._answers.append(answer)
            try:
                await loop.sock_sendall(self._end, message)
            except BaseException:
                self._answers.remove(answer)
                raise
        return answer

    def close(self) -> None:
        """Close the channel, which ends the guest."""
        if self._closed:
            return
        self._closed = True
        asyncio.get_running_loop().remove_reader(self._end.fileno())
        self._end.close()
        for answer in self._answers:
            if not answer.done():
                answer.set_exception(GuestGoneError("The sandbox's guest has ended."))

    def _receive(self) -> None:
        try:
            text, descriptors, _flags, _address = socket.recv_fds(self._end, ANSWER_BYTES, MOST_DESCRIPTORS)
        except BlockingIOError:
            return
        except OSError:
            text, descriptors = b"", []
        if not text:
            self.close()
            self._on_close()
            return
        answer = self._answers.popleft() if self._answers else None
        if answer is None or answer.done():
            _close_all(descriptors)
        else:
            answer.set_result((text, descriptors))


def _sockets(descriptors: list[int]) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
            sockets.append(socket.socket(fileno=descriptor))
            sockets[-1].setblocking(False)
    except OSError as error:
        _close_all(descriptors)
        raise GuestGoneError("The sandbox's guest answered with something that is no socket.") from error
    return sockets


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)
