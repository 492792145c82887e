"""What builds are listed by must be known to the server: a build would hang at its first upsert otherwise."""

import shlex
from collections.abc import Sequence

from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError

from workflows import journal

WANTED = {
    journal.STATUS.name: "Keyword",
    journal.PROJECT.name: "Keyword",
    journal.USER.name: "Keyword",
    journal.SPENT_CENTS.name: "Int",
    journal.WAKE_AT.name: "Datetime",
}
"""Name → type, as `temporal operator search-attribute create` takes it."""


class MissingSearchAttributes(Exception):
    """The server lacks search attributes of builds; the text ends with the command that adds them."""

    def __init__(self, missing: Sequence[str], *, namespace: str) -> None:
        self.why = f"the namespace {namespace!r} lacks the search attributes {', '.join(missing)}"
        self.fix = f"add them: {_command(missing, namespace)}"
        super().__init__(f"{self.why}; {self.fix}")


async def check_search_attributes(client: Client) -> None:
    """Refuse to work where a build would hang; raises MissingSearchAttributes with the fix.

    A server that does not let us ask (Temporal Cloud keeps them elsewhere) is taken at its word.
    """
    request = ListSearchAttributesRequest(namespace=client.namespace)
    try:
        known = (await client.operator_service.list_search_attributes(request)).custom_attributes
    except RPCError:
        return
    missing = [name for name in WANTED if name not in known]
    if missing:
        raise MissingSearchAttributes(missing, namespace=client.namespace)


def _command(missing: Sequence[str], namespace: str) -> str:
    words = ["temporal", "operator", "search-attribute", "create", "--namespace", namespace]
    added = (word for name in missing for word in ("--name", name, "--type", WANTED[name]))
    return shlex.join([*words, *added])
