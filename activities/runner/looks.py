"""`screenshot`: what a page of this sandbox looks like on a desktop and on a phone, as WebP.

Only a port of this sandbox is looked at. Answers `status`: taken, nobody (listens), no_browser or failed.
"""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any, Dict, Tuple, cast

from .devtools import Browser, BrowserFailed, find_browser, opened
from .listening import answering_host, listening
from .state import open_state

SCREENS = {"desktop": (1280, 800), "mobile": (390, 844)}
"""Width and height, if the request does not say."""
QUALITIES = (80, 40, 10)
"""Of the image; the next is tried while it is too large."""
MAX_IMAGE_BYTES = 1024 * 1024
SECONDS = 45.0
"""How long the browser may run for all screens."""
LOAD_SECONDS = 10.0
"""How long a page may load; what is there then is taken."""
IDLE_SECONDS = 3.0
"""How long a loaded page may go on fetching."""
READ_MS = 2_000
_SAYS = """JSON.stringify({
    title: document.title.slice(0, 300),
    text: document.body ? document.body.innerText.slice(0, 1000) : "",
    status: (performance.getEntriesByType("navigation")[0] || {}).responseStatus || 0,
})"""


def screenshot(request: Dict[str, Any]) -> Dict[str, Any]:
    """Look at `http://<this sandbox>:port/path` on each screen."""
    state, port = open_state(request), int(request["port"])
    ports = listening()
    host = answering_host(port)
    if host is None:
        others = f" Open ports: {', '.join(map(str, sorted(ports))) or 'none'}." if ports is not None else ""
        return _answer("nobody", f"Nothing answers on port {port} in the sandbox.{others}")
    program = find_browser(state)
    if program is None:
        return _answer("no_browser", "The sandbox has no browser.")
    url = f"http://{'[::1]' if host == '::1' else host}:{port}{request.get('path', '/')}"
    try:
        with opened(program, seconds=float(request.get("seconds", SECONDS))) as browser:
            screens: Dict[str, Any] = request.get("screens") or SCREENS
            looks = {name: _take(browser, url, *size) for name, size in screens.items()}
    except (BrowserFailed, ValueError, KeyError) as error:
        return _answer("failed", f"The sandbox's browser failed: {error}.")
    images, seen = ({name: look[part] for name, look in looks.items()} for part in (0, 1))
    return {**_answer("taken", ""), "images": images, "seen": seen}


def _answer(status: str, text: str) -> Dict[str, Any]:
    return {"status": status, "text": text, "images": {}, "seen": {}}


def _take(browser: Browser, url: str, width: int, height: int) -> Tuple[str, Dict[str, Any]]:
    """Give the image and what the page says of itself."""
    browser.open_page()
    browser.ask(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=height,
        deviceScaleFactor=1,
        mobile=width < height,
    )
    went = browser.ask("Page.navigate", url=url)
    if went.get("errorText"):
        raise BrowserFailed(str(went["errorText"]))
    if went.get("loaderId"):
        _load(browser, went["loaderId"])
    for quality in QUALITIES:
        image = str(browser.ask("Page.captureScreenshot", format="webp", quality=quality)["data"])
        if len(base64.b64decode(image)) <= MAX_IMAGE_BYTES:
            return image, _read(browser)
    raise BrowserFailed("the image is too large")


def _read(browser: Browser) -> Dict[str, Any]:
    """Give title, HTTP status, text and console errors; a page whose script does not answer says less."""
    found: Any = None
    with suppress(BrowserFailed, ValueError, KeyError):
        asked = browser.ask("Runtime.evaluate", expression=_SAYS, returnByValue=True, timeout=READ_MS)
        found = json.loads(str(asked["result"]["value"]))
    says = cast("Dict[str, Any]", found) if isinstance(found, dict) else {}
    seen: Dict[str, Any] = {name: says.get(name) for name in ("title", "status", "text")}
    return {**seen, "errors": browser.errors, "error_count": browser.error_count}


def _load(browser: Browser, loader: str) -> None:
    """Wait for the page and for what it fetches; one that never ends is stopped, and taken as it is."""
    if browser.wait_for("load", loader, seconds=LOAD_SECONDS):
        browser.wait_for("networkIdle", loader, seconds=IDLE_SECONDS)
    else:
        browser.ask("Page.stopLoading")
