"""A tiny object store by HTTP, for the runner's transfers: keeps what If-None-Match lets it keep."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from typing_extensions import override


@dataclass
class ObjectStore:
    """What the server holds and was asked."""

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    """Statuses to answer the next requests with."""
    requests: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """Serve a store on a free port of the loopback until the test ends."""
    store = ObjectStore()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            store.requests.append(("PUT", self.path))
            if store.failures:
                self._answer(store.failures.pop(0), b"SlowDown")
            elif self.headers["If-None-Match"] != "*":
                self._answer(403, b"SignatureDoesNotMatch")
            elif self.path in store.objects:
                self._answer(412, b"PreconditionFailed")
            else:
                store.objects[self.path] = body
                self._answer(200, b"")

        def do_GET(self) -> None:
            store.requests.append(("GET", self.path))
            path = (
                self.path.partition("//")[2].partition("/")[2]
                if "://" in self.path
                else self.path.lstrip("/")
            )
            found = store.objects.get(f"/{path}")
            self._answer(404 if found is None else 200, found or b"")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    store.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
