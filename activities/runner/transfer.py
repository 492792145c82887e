"""HTTP to the object store by presigned URLs; a URL is a credential and must not get into a message."""

from __future__ import annotations

import http.client
import ssl
from typing import BinaryIO, NamedTuple
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from .failures import RunnerFailure

SOCKET_SECONDS = 60
CHUNK = 1024 * 1024
_OK = 200
_MISSING = 404
_REDIRECT = 300


class Answer(NamedTuple):
    """What the store said."""

    status: int
    message: str


def put(url: str, *, headers: dict[str, str], body: BinaryIO, length: int) -> Answer:
    """Send a file; the answer is read even if the store stopped listening, as it does for one it has.

    Raises OSError or http.client.HTTPException if no answer comes.
    """
    connection, target = _connect(urlsplit(url))
    try:
        connection.putrequest("PUT", target, skip_accept_encoding=True)
        given = {name.lower(): value for name, value in headers.items() if name.lower() != "host"}
        for name, value in {**given, "content-length": str(length)}.items():
            connection.putheader(name, value)
        connection.endheaders()
        _send(connection, body)
        response = connection.getresponse()
        text = response.read(2000).decode("utf-8", "replace")
        return Answer(response.status, "" if response.status < _REDIRECT else f"{response.reason}: {text}")
    finally:
        connection.close()


def _send(connection: http.client.HTTPConnection, body: BinaryIO) -> None:
    try:
        while True:
            chunk = body.read(CHUNK)
            if not chunk:
                return
            connection.send(chunk)
    except (BrokenPipeError, ConnectionResetError):
        return


def get(url: str, *, into: BinaryIO) -> int:
    """Fetch a body into a file; gives its length in bytes.

    Raises RunnerFailure `missing` if it is not in the store, `download` if the store refuses or breaks off.
    """
    connection, target = _connect(urlsplit(url))
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        if response.status == _MISSING:
            raise RunnerFailure("missing", "It is not in the object store.")
        if response.status != _OK:
            raise RunnerFailure("download", f"The object store answered {response.status} {response.reason}.")
        total = 0
        while True:
            chunk = response.read(CHUNK)
            if not chunk:
                return total
            into.write(chunk)
            total += len(chunk)
    except http.client.HTTPException as error:
        raise RunnerFailure("download", f"The download broke off: {type(error).__name__}.") from None
    finally:
        connection.close()


def _connect(url: SplitResult) -> tuple[http.client.HTTPConnection, str]:
    """Open a connection, by the environment's proxy if it names one; gives it and the request's target."""
    host, secure = url.hostname or "", url.scheme == "https"
    port = url.port or (443 if secure else 80)
    target = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
    proxies = getproxies()
    named = proxies.get(url.scheme) or proxies.get("all")
    if not named or proxy_bypass(f"{host}:{port}"):
        return _open(host, port, secure=secure), target
    proxy = urlsplit(named if "//" in named else f"//{named}")
    through = proxy.hostname or "", proxy.port or 80
    if not secure:
        return _open(*through, secure=False), f"http://{url.netloc}{target}"
    connection = _open(*through, secure=True)
    connection.set_tunnel(host, port)
    return connection, target


def _open(host: str, port: int, *, secure: bool) -> http.client.HTTPConnection:
    if secure:
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=SOCKET_SECONDS, context=context)
    return http.client.HTTPConnection(host, port, timeout=SOCKET_SECONDS)
