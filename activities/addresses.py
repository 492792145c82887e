"""Addresses and keys as people write them: made unambiguous, checked, shown without secrets; opens nothing.

What is raised is a ValueError whose text holds no part of the value.
"""

import re
from collections.abc import Sequence
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urlencode, urlsplit

_DRIVER = "postgresql+asyncpg"
_DATABASES = ("postgresql", "postgres", _DRIVER)
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_OTHER_NAMES = {"sslmode": "ssl", "dbname": "database"}
_KEYWORDS = frozenset(
    {
        *("host", "port", "user", "password", "database", "passfile", "service", "servicefile"),
        *("ssl", "target_session_attrs", "krbsrvname", "gsslib", "prepared_statement_cache_size"),
    }
)
"""Options that the driver takes as arguments."""
_IN_DSN = frozenset(
    {
        *("sslrootcert", "sslcert", "sslkey", "sslcrl", "sslpassword", "sslnegotiation"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version", "application_name", "options"),
    }
)
"""Options that the driver reads only out of an address of its own."""
_DSN = "postgresql://?"


def database_address(text: str) -> str:
    """The address of a database as SQLAlchemy takes it, whichever way it was written."""
    usual = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
    parts = urlsplit(_checked(text, schemes=_DATABASES, usual=usual))
    options = {_OTHER_NAMES.get(name, name): value for name, value in parse_qsl(parts.query)}
    known = {name: value for name, value in options.items() if name in _KEYWORDS}
    in_dsn = {name: value for name, value in options.items() if name in _IN_DSN}
    dsn = options.get("dsn", "")
    for name in options.keys() - known.keys() - in_dsn.keys() - ({"dsn"} if dsn.startswith(_DSN) else set()):
        raise ValueError(f"leave out its option {name}, which the driver does not know")
    if known.get("ssl", "prefer") not in _SSL_MODES:
        raise ValueError(f"its option sslmode can be {', '.join(_SSL_MODES)}")
    if in_dsn:
        dsn = _DSN + urlencode(in_dsn, quote_via=quote)
    query = urlencode({**known, **({"dsn": dsn} if dsn else {})}, safe="/:", quote_via=quote)
    return f"{_DRIVER}://{parts.netloc}{parts.path}" + (f"?{query}" if query else "")


def redis_address(text: str) -> str:
    """The address of a Redis, its login quoted."""
    usual = "redis://:PASSWORD@HOST:PORT/0 (rediss:// with TLS, unix:// with a socket)"
    return _checked(text, schemes=("redis", "rediss", "unix"), usual=usual)


def web_address(text: str) -> str:
    """The address of an HTTP service, its login quoted."""
    usual = "https://HOST or http://HOST:PORT"
    address = _checked(text, schemes=("http", "https"), usual=usual)
    if not re.fullmatch(r"[\w.:%~-]+", urlsplit(address).hostname or ""):
        raise ValueError(f"write it as {usual}")
    return address


def host_and_port(text: str) -> tuple[str, int]:
    """The host of an HTTP service, and its port: where none is written, the one of its scheme."""
    parts = urlsplit(web_address(text))
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def key(text: str) -> str:
    """A key, without the line break that a file ends in."""
    if not re.fullmatch(r"[!-~]*", text.strip()):
        raise ValueError("it holds a space, a line break or a letter that no key has; copy it again")
    return text.strip()


def shown(address: str) -> str:
    """Where that is, without user, password and options; empty where that cannot be told."""
    scheme, named, rest = address.strip().partition("://")
    if not named or not re.fullmatch(r"[a-z][a-z0-9+]*", scheme):
        return ""
    try:
        parts = urlsplit(f"{scheme}://{rest.rpartition('@')[2]}")
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        return ""
    host = parts.hostname or "".join(parse_qs(parts.query).get("host", []))
    place = f"{f'[{host}]' if ':' in host and not host.startswith('/') else host}{port}{parts.path}"
    return f"{scheme}://{place}" if scheme in ("http", "https") else place


def secrets_in(address: str) -> list[str]:
    """What no text may show of an address: its login, its password, its options of that name."""
    login, _, place = address.strip().rpartition("@")
    login = login.partition("://")[2] or login
    user, colon, password = login.partition(":")
    options = [value for name, value in parse_qsl(place.partition("?")[2]) if "password" in name]
    return [found for found in (login, password if colon else user, *options) if found]


def mask(text: str, secrets: Sequence[str]) -> str:
    """The text without the secrets, in whatever form they were written or quoted."""
    forms = {form for secret in secrets for form in _forms(secret)}
    for form in sorted(forms - {""}, key=len, reverse=True):
        text = text.replace(form, "***")
    return text


def _forms(secret: str) -> set[str]:
    plain = {secret, secret.strip(), unquote(secret), _quoted(secret)}
    return plain | {
        form
        for one in plain
        for form in (
            quote(one, safe="", errors="surrogateescape"),
            repr(one)[1:-1],
            repr(one.encode(errors="surrogateescape"))[2:-1],
        )
    }


def _checked(text: str, *, schemes: tuple[str, ...], usual: str) -> str:
    scheme, _, rest = text.strip().partition("://")
    login, at, place = rest.rpartition("@")
    user, colon, password = login.partition(":")
    if scheme not in schemes or not place.isprintable():
        raise ValueError(f"write it as {usual}")
    address = f"{scheme}://{_quoted(user)}{colon}{_quoted(password)}{at}{place}"
    try:
        _ = urlsplit(address).port
    except ValueError:
        raise ValueError(f"its host or port cannot be read: write it as {usual}") from None
    return address


def _quoted(word: str) -> str:
    """The word with every odd character quoted; what is quoted already stays."""
    return re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", quote(word, safe="%", errors="surrogateescape"))
