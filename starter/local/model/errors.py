"""The API's error bodies; knows nothing of what is checked or why."""

from collections.abc import Mapping


class ApiError(Exception):
    """A reply that the Messages API gives instead of a message."""

    def __init__(
        self,
        status: int,
        *,
        kind: str,
        message: str,
        code: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.code = code
        self.headers = dict(headers or {})

    def body(self, request_id: str) -> dict[str, object]:
        """Return the JSON error body."""
        details = {"error_code": self.code} if self.code else None
        error = {"type": self.kind, "message": self.message, "details": details}
        return {"type": "error", "error": error, "request_id": request_id}


def invalid(message: str) -> ApiError:
    """Return the 400 that a malformed request earns."""
    return ApiError(400, kind="invalid_request_error", message=message)
