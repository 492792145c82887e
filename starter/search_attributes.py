"""What builds are listed by must be known to the server: a build would hang at its first upsert otherwise."""

import shlex

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
    """The server lacks search attributes of builds; the text is the command that adds them."""


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
        raise MissingSearchAttributes(
            f"The namespace {client.namespace!r} lacks search attributes of builds. Add them:\n"
            + "\n".join(_command(name, client.namespace) for name in missing)
        )


def _command(name: str, namespace: str) -> str:
    words = ["temporal", "operator", "search-attribute", "create", "--namespace", namespace]
    return shlex.join([*words, "--name", name, "--type", WANTED[name]])
