"""Which object store the local sandboxes may reach, wherever it is; opens nothing."""

from activities.addresses import host_and_port
from starter.local.parts import Part, PartFailed

SETTING = "AWS_ENDPOINT_URL_S3"
LOOPBACK = ("127.0.0.1", "localhost")
LOWEST_PORT = 1024
"""In a sandbox, where nobody has a privilege, nothing listens below it."""


def upload_host(endpoint: str) -> str:
    """Give host:port of a person's own store for the sandbox server; empty for the vendor's, which is public.

    Raises PartFailed for an endpoint that cannot be understood, or that no sandbox could reach.
    """
    if not endpoint:
        return ""
    try:
        host, port = host_and_port(endpoint)
    except ValueError as error:
        raise PartFailed(Part.S3, why=f"{SETTING} cannot be understood", fix=str(error)) from None
    if host in LOOPBACK and port < LOWEST_PORT:
        raise PartFailed(
            Part.S3,
            why=f"{SETTING} names port {port} of this machine, on which local sandboxes cannot reach it",
            fix=f"let the store listen on a port from {LOWEST_PORT} on",
        )
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
