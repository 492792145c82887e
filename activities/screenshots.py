"""Looks at a page of a sandbox in a desktop and a mobile browser, and keeps the images in the bucket.

The sandbox's own browser is tried first, through the runner; then the worker's, through the preview URL.
The page is the agent's: the worker's browser may reach the page's own address and no other, as its machine
has neighbours that trust it.
"""

import asyncio
import base64
import hashlib
import shutil
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from activities.objects import Objects
from activities.pages import Seen, describe, read_seen
from activities.runner.devtools import PROGRAMS
from activities.workspace import RunnerFault, Workspace
from workflows.files import SandboxRef

SCREENS: Final = {"desktop": (1280, 800), "mobile": (390, 844)}
"""Width and height, pixels."""
SHOT_SECONDS: Final = 90
"""How long both images may take together."""
INSIDE: Final = timedelta(seconds=75)
"""How long the runner may take for both; its browser is killed after 45 seconds."""
MAX_IMAGE_BYTES: Final = 3 * 1024 * 1024
"""The largest image that the model is given: four fifths of what its API takes, as base64."""
_STARTS: Final = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}
_HOW_TO_ADD: Final = (
    "No browser is installed where the worker runs either, so there are no screenshots. Check the app with "
    "bash instead. (For the operator: put chromium-headless-shell or chromium on PATH in the sandbox's "
    "template or on the worker's machine.)"
)


class NoBrowser(Exception):
    """Neither the sandbox nor the worker's machine has a browser that works; the text says how to add one."""


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
    media_type: str
    data: str
    """Base64 of the image."""


class View(NamedTuple):
    """A page on all its screens."""

    shots: tuple[Shot, ...]
    about: str
    """What the page says of itself; it stays when the images leave the conversation."""

    @property
    def text(self) -> str:
        """What is told beside the images."""
        kept = (f"{shot.name}: {shot.width}x{shot.height}, kept as {shot.key}" for shot in self.shots)
        return "\n".join([self.about, *kept])


Look = tuple[bytes, Seen]
"""An image, and what the page said."""


class Screenshots:
    """Takes and keeps images of pages."""

    def __init__(self, objects: Objects, workspace: Workspace, *, browser: str | None = None) -> None:
        self._objects = objects
        self._workspace = workspace
        self._browser = browser or find_browser()

    async def take(self, build_id: str, sandbox: SandboxRef, *, port: int, path: str = "/") -> View:
        """Give an image of the page on each screen, kept in the bucket, and what the page says.

        Raises NoBrowser, PageUnreachable.
        """
        looks, reason = await self._look_inside(sandbox, port, path)
        if not looks:
            url = await self._workspace.client.preview_url(sandbox.sandbox_id, port)
            looks = await self._look_from_outside(url.rstrip("/") + path, reason)
        kept = [await self.keep(build_id, name, SCREENS[name], image) for name, (image, _) in looks.items()]
        about = describe({name: seen for name, (_, seen) in looks.items()})
        return View(tuple(shot for shot in kept if shot is not None), about)

    async def _look_inside(self, sandbox: SandboxRef, port: int, path: str) -> tuple[dict[str, Look], str]:
        """Give the images of the sandbox's own browser, or why there are none.

        Raises PageUnreachable if nobody listens on that port of this sandbox.
        """
        request = {"port": port, "path": path, "screens": {name: [*size] for name, size in SCREENS.items()}}
        try:
            answer = await self._workspace.ask(sandbox, "screenshot", request, within=INSIDE)
        except RunnerFault as fault:
            return {}, fault.message
        if answer["status"] == "nobody":
            raise PageUnreachable(
                f"{answer['text']} Start the app in the background first, or name its port."
            )
        images = {name: base64.b64decode(answer["images"].get(name, "")) for name in SCREENS}
        if all(map(_is_fit, images.values())):
            seen: Mapping[str, Any] = answer.get("seen") or {}
            return {name: (image, read_seen(seen.get(name) or {})) for name, image in images.items()}, ""
        return {}, str(answer["text"] or "The sandbox's browser gave no image.")

    async def _look_from_outside(self, url: str, reason: str) -> dict[str, Look]:
        if self._browser is None:
            raise NoBrowser(f"{reason} {_HOW_TO_ADD}")
        from activities import browser  # which takes half a second that most workers never need

        try:
            async with asyncio.timeout(SHOT_SECONDS):
                looks = await browser.look(self._browser, url, SCREENS)
        except (browser.Failed, TimeoutError) as error:
            said = str(error).splitlines()[0] if str(error) else "it took too long"
            raise PageUnreachable(f"The page {urlsplit(url).path!r} could not be shown: {said}") from None
        if not all(_is_fit(image) for image, _ in looks.values()):
            raise PageUnreachable(f"The images of {urlsplit(url).path!r} are too large to be shown.")
        return looks

    async def keep(self, build_id: str, name: str, size: tuple[int, int], image: bytes) -> Shot | None:
        """Keep an image in the bucket; none if it is none that the model can be given."""
        if not _is_fit(image):
            return None
        key = f"screenshots/{build_id}/{hashlib.sha256(image).hexdigest()}/image"
        media_type = _media_type(image)
        await self._objects.put_if_absent(key, image, content_type=media_type)
        return Shot(name, *size, key, media_type, base64.b64encode(image).decode())


def _media_type(image: bytes) -> str:
    """Name the type by the first bytes, whoever made the image; empty if the model does not take it."""
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _STARTS.items() if image.startswith(start)), "")


def _is_fit(image: bytes) -> bool:
    return bool(_media_type(image)) and len(image) <= MAX_IMAGE_BYTES


def find_browser() -> str | None:
    """Find a Chromium on PATH."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)
