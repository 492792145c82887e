"""Screenshots inside the sandbox: its own ports only, bounded in time and size, nothing left running."""

import base64
import http.server
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from activities.screenshots import find_browser
from tests.runner_box import Box, until

SAYING = b"""<title>Say</title><p id=p></p>xxxxx<script>throw Error("odd")</script><script>
p.innerText = innerWidth > 1000 ? "wide" : "narrow"; console.error("logged", 1); console.assert(false, "no");
console.log("nothing"); console.error("y".repeat(5000)); console.error("z")</script>"""
needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium on this machine")


class App(http.server.BaseHTTPRequestHandler):
    """Pages of all kinds; `/width` is told how wide the page is."""

    asked: ClassVar[list[str]] = []
    page = b"<meta name=viewport content='width=device-width'><script>fetch('/width?' + innerWidth)</script>"

    def do_GET(self):
        self.asked.append(self.path)
        self.send_response(500 if self.path == "/broken" else 200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(self.page)

    def log_message(self, *_: object):
        """Say nothing."""


@contextmanager
def app(host: str = "127.0.0.1") -> Iterator[int]:
    """An app that listens on an address; gives its port."""
    made = type("Server", (http.server.ThreadingHTTPServer,), {"address_family": family(host)})
    with made((host, 0), App) as server:
        App.asked.clear()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def family(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def with_browser(tmp_path: Path, script: str) -> Box:
    """A sandbox that has only this program as its browser."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "sleep"):
        (programs / name).symlink_to(str(shutil.which(name)))
    if script:
        (programs / "chromium").write_text(f"#!/bin/sh\n{script}\n")
        (programs / "chromium").chmod(0o755)
    return Box(tmp_path / "home", environment={**os.environ, "PATH": str(programs)})


@needs_browser
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_page_is_taken_on_a_desktop_and_on_a_phone(tmp_path: Path, host: str):
    """WebP images, of pages as wide as the screens; a development server may listen on ::1 only."""
    with app(host) as port:
        answer = Box(tmp_path).run("screenshot", port=port, path="/x?y=1")
    images = {name: base64.b64decode(image) for name, image in answer["images"].items()}

    assert ("taken", ["desktop", "mobile"]) == (answer["status"], [*images])
    assert all(image[:4] == b"RIFF" and image[8:12] == b"WEBP" for image in images.values())
    assert App.asked.count("/x?y=1") == 2
    assert ["/width?1280", "/width?390"] == [path for path in App.asked if path.startswith("/width")]


@needs_browser
def test_what_a_page_says_is_told_with_its_image(tmp_path: Path):
    """Title, status, text and console errors of each screen: what it logs, throws or lacks."""
    page, App.page = App.page, SAYING
    try:
        with app() as port:
            answer = Box(tmp_path).run("screenshot", port=port, path="/broken")
    finally:
        App.page = page
    desktop, mobile = answer["seen"]["desktop"], answer["seen"]["mobile"]

    assert ("Say", 500) == (desktop["title"], desktop["status"])
    assert desktop["text"].startswith("wide")
    assert mobile["text"].startswith("narrow")
    assert (6, 3) == (desktop["error_count"], len(desktop["errors"]))
    assert {"Error: odd", "logged 1"} <= {*desktop["errors"]}
    assert [True] * 3 == [len(each) <= 300 for each in desktop["errors"]]


@needs_browser
def test_a_page_whose_script_lies_is_taken_all_the_same(tmp_path: Path):
    """It says less."""
    page, App.page = App.page, b"<script>JSON.stringify = () => { throw 1 }; Array.prototype.map = 5</script>"
    try:
        with app() as port:
            answer = Box(tmp_path).run("screenshot", port=port)
    finally:
        App.page = page

    assert ("taken", None) == (answer["status"], answer["seen"]["desktop"]["title"])


@needs_browser
def test_an_error_page_is_taken_too(tmp_path: Path):
    """The model wants to see what went wrong; of the browser and its profile nothing is left."""
    own = {**os.environ, "TMPDIR": str(tmp_path)}
    with app() as port:
        answer = Box(tmp_path / "home", environment=own).run("screenshot", port=port, path="/broken")

    assert answer["status"] == "taken"
    assert ["home"] == [path.name for path in tmp_path.iterdir()]


def test_a_port_that_nobody_has_is_told_with_those_that_are_open(tmp_path: Path):
    """No browser is started for it."""
    with app() as port, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        free = taken.getsockname()[1]
        answer = with_browser(tmp_path, "exit 1").run("screenshot", port=free)

    assert answer["status"] == "nobody"
    assert f"Nothing answers on port {free} in the sandbox." in answer["text"]
    assert str(port) in answer["text"]


@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        ("", "no_browser", "has no browser"),
        ("exit 1", "failed", "ended at once"),
        ("printf 'no json\\0' >&4; sleep 600", "failed", "failed"),
        ("printf '{}' >&4; exec sleep 600", "failed", "took too long"),
    ],
)
def test_a_browser_that_does_not_work_is_a_value(tmp_path: Path, script: str, status: str, said: str):
    """Missing, crashing, talking nonsense or hanging: it is killed, and the worker's own browser is next."""
    box = with_browser(tmp_path, script)
    with app() as port:
        answer = box.run("screenshot", port=port, seconds=1)

    assert status == answer["status"]
    assert said in answer["text"]
    assert answer["images"] == {}


def test_a_hanging_browser_is_killed_with_what_it_started(tmp_path: Path):
    """Its whole process group goes."""
    box = with_browser(tmp_path, f"sleep 600 & echo $! > {tmp_path}/pid; wait")
    with app() as port:
        box.run("screenshot", port=port, seconds=1)
    pid = (tmp_path / "pid").read_text().strip()

    assert until(lambda: not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text())


def test_a_browser_of_the_workspace_is_not_run(tmp_path: Path):
    """A program that lies there is what the model wrote."""
    box = with_browser(tmp_path, "")
    planted = box.workspace / "chromium"
    planted.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    planted.chmod(0o755)
    box.environment["PATH"] += f":{box.workspace}"
    with app() as port:
        answer = box.run("screenshot", port=port)

    assert answer["status"] == "no_browser"
    assert not (tmp_path / "ran").exists()
