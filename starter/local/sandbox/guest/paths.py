"""How a path and a user named in a request become a path of the sandbox; touches no file."""

import base64
import binascii
from pathlib import Path

HOME = Path("/home/user")
USERS = ("user", "root")


class UnknownUserError(ValueError):
    """A request names a user the sandbox does not have."""


class Paths:
    """Resolves request paths against the sandbox's home."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def resolve(self, path: str) -> Path:
        """Return the absolute path meant by `path`: `~` and relative ones start at home."""
        if path in {"", "~"}:
            return self.home
        return self.home / path.removeprefix("~/")


def check_user(name: str) -> str:
    """Return the user's name, `user` for none; every user is the same one in a local sandbox.

    Raises:
        UnknownUserError: the name is no user of the sandbox.

    """
    if name and name not in USERS:
        raise UnknownUserError(f"invalid username: {name!r}; a local sandbox has {' and '.join(USERS)}")
    return name or USERS[0]


def user_of_authorization(value: str) -> str:
    """Return the user named by a Basic authorization header, as E2B's SDK sends it; empty for none."""
    scheme, _, encoded = value.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""
