"""A browser on the worker's machine, confined to the one page that it is shown. Knows no sandbox."""

import base64
import os
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Page, Response, async_playwright
from playwright.async_api import Error as Failed

from activities.pages import SHOWN_ERRORS, Seen

__all__ = ["Failed", "look"]

QUALITY: Final = 80
"""Of the WebP image."""
PAGE_SECONDS: Final = 30
"""How long a page may take to load."""
_NOBODY_THERE: Final = frozenset({502, 503, 504})
"""What the proxy before a sandbox answers for a port that nobody listens on."""


async def look(
    executable: str, url: str, screens: Mapping[str, tuple[int, int]]
) -> dict[str, tuple[bytes, Seen]]:
    """Give a WebP image of a page, and what it says, for each screen (width, height); raises Failed."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=_arguments(url))
        try:
            return {name: await _image(browser, url, screen) for name, screen in screens.items()}
        finally:
            await browser.close()


def _arguments(url: str) -> list[str]:
    """Confine the browser to the page's host and port; as root its own sandbox cannot start."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    here = f"{parts.hostname}:{port}"
    confined = [f"--host-resolver-rules=MAP {here} {here}, MAP * ~NOTFOUND", "--disable-quic"]
    return [*confined, "--no-sandbox"] if os.geteuid() == 0 else confined


async def _image(browser: Browser, url: str, screen: tuple[int, int]) -> tuple[bytes, Seen]:
    """Load a page and take what is seen of it; playwright itself writes no WebP."""
    width, height = screen
    context = await browser.new_context(
        viewport={"width": width, "height": height}, service_workers="block", accept_downloads=False
    )
    try:
        page = await context.new_page()
        errors = _listen(page)
        answer = await page.goto(url, wait_until="load", timeout=PAGE_SECONDS * 1000)
        if answer is not None and answer.status in _NOBODY_THERE:
            raise Failed(f"nothing answers (HTTP {answer.status}); is the app running on that port?")
        return await _shoot(await context.new_cdp_session(page)), await _read(page, answer, errors)
    finally:
        await context.close()


async def _shoot(session: Any) -> bytes:
    """Give an image of what is shown; a busy machine's browser now and then has none at the first asking."""
    wanted = {"format": "webp", "quality": QUALITY}
    try:
        shot = await session.send("Page.captureScreenshot", wanted)
    except Failed:
        shot = await session.send("Page.captureScreenshot", wanted)
    return base64.b64decode(shot["data"])


def _listen(page: Page) -> list[str]:
    """Give the list to which the errors of the page's console are added."""
    errors: list[str] = []
    page.on("console", lambda said: errors.append(_said(said)) if said.type in ("error", "assert") else None)
    page.on("pageerror", lambda error: errors.append(f"{error.name}: {error.message}"))
    return errors


def _said(message: ConsoleMessage) -> str:
    """Name what was not loaded, of which the text says nothing."""
    where = f" {message.location['url']}" if message.text.startswith("Failed to load") else ""
    return f"{message.text}{where}"


async def _read(page: Page, answer: Response | None, errors: list[str]) -> Seen:
    text = await page.evaluate("document.body ? document.body.innerText.slice(0, 1000) : ''")
    return Seen(
        title=await page.title(),
        status=answer.status if answer else 0,
        text=str(text),
        errors=tuple(errors[:SHOWN_ERRORS]),
        error_count=len(errors),
    )
