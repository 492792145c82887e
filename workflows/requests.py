"""What a run is started with: a request of a person, or a carried state. Pure.

The run takes its argument raw: a payload that the converter cannot decode would otherwise hang the
run in RUNNING for ever.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from typing import TypeVar

from pydantic import JsonValue, ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from workflows.catalogue import describe_errors
from workflows.files import ServePreview
from workflows.models import BuildRequest
from workflows.state import STATE_KIND, BuildState
from workflows.texts import clean

MAX_REQUEST_BYTES = 256 * 1024
"""The largest request; longer material belongs into the project's brief."""

MAX_ERROR_CHARS = 2_000
"""The longest text of a refusal."""

MAX_DEPTH = 64
"""Levels of nesting; at about 200 the payload no longer decodes on its way to an activity."""

OF_THE_BUILD = ("project", "idea_brief", "answers", "build_plan")
"""What a fork takes from the build that it goes on from."""

NO_INPUT = RawValue(Payload())
"""What a run gets when it is started without input."""


Function = TypeVar("Function", bound=Callable[..., object])


class InvalidRequest(Exception):
    """The founder's: the request does not validate; the text names the field and the fix."""


def of_one_input(function: Function) -> Function:
    """Declare one input for a method that takes any number of them and refuses more than one itself.

    The SDK hands an input over raw only where as many are declared; one that a method cannot take at all
    would hang the run.
    """
    declared = list(inspect.signature(function).parameters.values())[:2]
    function.__signature__ = inspect.Signature(declared)  # pyright: ignore[reportFunctionMemberAccess]
    return function


def refuse_surplus(surplus: tuple[object, ...]) -> None:
    """Raise InvalidRequest where a run was started with more than one input."""
    if surplus:
        raise InvalidRequest(f"The run takes one input, a JSON object, and got {1 + len(surplus)}.")


def read_start(given: RawValue, *, carried: bool) -> BuildState:
    """Make the state that a run begins with; `carried` says that continue-as-new handed it over.

    Raises InvalidRequest for anything but a valid request or a carried state.
    """
    data = given.payload.data
    if len(data) > MAX_REQUEST_BYTES and not carried:
        raise InvalidRequest(
            f"The request has {len(data):,} bytes, more than {MAX_REQUEST_BYTES:,}. "
            "Shorten `idea_brief`, or store the brief with the project and name `project`."
        )
    value = _decode(given)
    if carried and isinstance(value, dict) and value.get("kind") == STATE_KIND:
        return BuildState.model_validate(value)
    return BuildState(request=_request(value))


def read_preview(given: RawValue) -> ServePreview:
    """Read what a preview is started with; raises InvalidRequest."""
    value = _decode(given)
    if not isinstance(value, dict):
        raise InvalidRequest(
            f'The input must be one JSON object such as {{"workflow_id": "my-first"}}, not {_kind(value)}.'
        )
    try:
        return ServePreview.model_validate(value)
    except ValidationError as error:
        raise InvalidRequest(describe_errors(error)[:MAX_ERROR_CHARS]) from None


def _decode(given: RawValue) -> JsonValue:
    if not given.payload.data:
        return None
    if (encoding := given.payload.metadata.get("encoding", b"")) != b"json/plain":
        raise InvalidRequest(f"The input must be JSON, not {encoding.decode(errors='replace')!r}.")
    try:
        value = clean(json.loads(given.payload.data))
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The input is not valid JSON: {error}") from None
    if _depth(value) > MAX_DEPTH:
        raise InvalidRequest(f"The input is nested more than {MAX_DEPTH} levels deep. Flatten `idea_brief`.")
    return value


def _depth(value: JsonValue) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max((_depth(each) for each in inner), default=0)


def _request(value: JsonValue) -> BuildRequest:
    if not isinstance(value, dict):
        raise InvalidRequest(
            f'The input must be one JSON object such as {{"idea": "a habit tracker"}}, not {_kind(value)}.'
        )
    try:
        request = BuildRequest.model_validate(value)
    except ValidationError as error:
        raise InvalidRequest(describe_errors(error)[:MAX_ERROR_CHARS]) from None
    if request.fork is not None:
        _check_fork(value)
    elif not (request.idea.strip() or request.idea_brief or request.project):
        raise InvalidRequest("idea: say what to build, or give `idea_brief`, or name a known `project`.")
    return request


def _check_fork(value: Mapping[str, JsonValue]) -> None:
    """Raise InvalidRequest where a fork is also told what its build says: it has the one brief and plan."""
    if told := [name for name in OF_THE_BUILD if value.get(name)]:
        raise InvalidRequest(f"{told[0]}: a fork has that of its build. Leave out {', '.join(told)}.")


def _kind(value: JsonValue) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, list) else "a number"
