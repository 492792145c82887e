"""Looks at a page in a desktop and a mobile browser. Knows a URL and the bucket; nothing of sandboxes.

The page is the agent's: its browser may reach the page's own address and no other, as the worker's machine
has neighbours that trust it.
"""

import asyncio
import base64
import hashlib
import os
import shutil
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from playwright.async_api import Browser, Error, ViewportSize, async_playwright

from activities.objects import Objects

BROWSERS: Final = (
    "chromium-headless-shell",
    "headless_shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)
"""Looked for on PATH, in this order."""
SCREENS: Final[dict[str, ViewportSize]] = {
    "desktop": {"width": 1280, "height": 800},
    "mobile": {"width": 390, "height": 844},
}
QUALITY: Final = 80
"""Of the WebP image."""
PAGE_SECONDS: Final = 30
"""How long a page may take to load."""
_NOBODY_THERE: Final = frozenset({502, 503, 504})
"""What the proxy before a sandbox answers for a port that nobody listens on."""
SHOT_SECONDS: Final = 90
"""How long both images may take together."""


class NoBrowser(Exception):
    """The worker's machine has no browser; the text says how to add one."""


class PageUnreachable(Exception):
    """The page did not load; the text says why."""


class Shot(NamedTuple):
    """One image of a page."""

    name: str
    """desktop, mobile."""
    width: int
    height: int
    key: str
    """In the bucket."""
    data: str
    """Base64 of the WebP image."""


class Screenshots:
    """Takes and keeps images of pages."""

    def __init__(self, objects: Objects, *, browser: str | None = None) -> None:
        self._objects = objects
        self._browser = browser or find_browser()

    async def take(self, build_id: str, url: str) -> list[Shot]:
        """Give an image of the page on each screen, kept in the bucket.

        Raises NoBrowser, PageUnreachable.
        """
        if self._browser is None:
            raise NoBrowser(
                "No browser is installed where the worker runs, so there are no screenshots. Check the app "
                "with bash instead. (For the operator: apt install chromium-headless-shell, or put chromium "
                "on PATH.)"
            )
        try:
            async with asyncio.timeout(SHOT_SECONDS):
                images = await _images(self._browser, url)
        except (Error, TimeoutError) as error:
            reason = str(error).splitlines()[0] if str(error) else "it took too long"
            raise PageUnreachable(f"The page {urlsplit(url).path!r} could not be shown: {reason}") from None
        return [await self._keep(build_id, name, image) for name, image in images.items()]

    async def _keep(self, build_id: str, name: str, image: bytes) -> Shot:
        key = f"screenshots/{build_id}/{hashlib.sha256(image).hexdigest()}/image"
        await self._objects.put_if_absent(key, image, content_type="image/webp")
        screen = SCREENS[name]
        return Shot(name, screen["width"], screen["height"], key, base64.b64encode(image).decode())


def find_browser() -> str | None:
    """Find a Chromium on PATH."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


async def _images(executable: str, url: str) -> dict[str, bytes]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=_arguments(url))
        try:
            return {name: await _image(browser, url, screen) for name, screen in SCREENS.items()}
        finally:
            await browser.close()


def _arguments(url: str) -> list[str]:
    """Confine the browser to the page's host and port; as root its own sandbox cannot start."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    here = f"{parts.hostname}:{port}"
    confined = [f"--host-resolver-rules=MAP {here} {here}, MAP * ~NOTFOUND", "--disable-quic"]
    return [*confined, "--no-sandbox"] if os.geteuid() == 0 else confined


async def _image(browser: Browser, url: str, screen: ViewportSize) -> bytes:
    """Load a page and take what is seen of it; playwright itself writes no WebP."""
    context = await browser.new_context(viewport=screen, service_workers="block", accept_downloads=False)
    try:
        page = await context.new_page()
        answer = await page.goto(url, wait_until="load", timeout=PAGE_SECONDS * 1000)
        if answer is not None and answer.status in _NOBODY_THERE:
            raise PageUnreachable(f"Nothing answers (HTTP {answer.status}). Is the app running on that port?")
        session: Any = await context.new_cdp_session(page)
        shot = await session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
        return base64.b64decode(shot["data"])
    finally:
        await context.close()
