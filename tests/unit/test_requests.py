import json
from inspect import signature
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.contrib.pydantic import pydantic_data_converter

from workflows.build import BuildWorkflow
from workflows.models import BuildRequest, PrepareBuild
from workflows.requests import MAX_REQUEST_BYTES, NO_INPUT, InvalidRequest, read_start
from workflows.state import BuildState, Status
from workflows.steering import Steering
from workflows.texts import clean

TEXTS = st.text(st.characters(codec=None))
"""Lone surrogates and NUL included."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
LONGEST_ERROR = 2_000
"""Characters of an error that a person reads in a terminal."""


def raw(data: bytes, encoding: bytes = b"json/plain") -> RawValue:
    return RawValue(Payload(metadata={"encoding": encoding}, data=data))


def start(value: Any, *, carried: bool = False) -> BuildState:
    return read_start(raw(json.dumps(value).encode()), carried=carried)


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidRequest) as found:
        read_start(raw(data), carried=False)
    return str(found.value)


def travels(request: BuildRequest) -> BuildRequest:
    """Send it to an activity and back, as the workflow does."""
    converter = pydantic_data_converter.payload_converter
    sent = converter.to_payload(PrepareBuild(request=request))
    received: PrepareBuild = converter.from_payload(sent, PrepareBuild)
    return received.request


# --- what starts a build ----------------------------------------------------------------------------


def test_an_idea_is_enough():
    """The CLI starts a build with one field; everything else has a default."""
    state = start({"idea": "a habit tracker"})

    assert BuildState(request=BuildRequest(idea="a habit tracker")) == state


@pytest.mark.parametrize("request_", [{"idea_brief": {"problem_statement": "x"}}, {"project": "shop"}])
def test_a_brief_or_a_known_project_is_enough(request_: dict[str, Any]):
    """The idea may stand elsewhere."""
    assert BuildRequest(**request_) == start(request_).request


@pytest.mark.parametrize("request_", [{}, {"idea": ""}, {"idea": " \n"}, {"user": "ada"}])
def test_nothing_to_build_is_refused(request_: dict[str, Any]):
    """The text names the fields that would do."""
    with pytest.raises(InvalidRequest, match=r"idea.*`idea_brief`.*`project`"):
        start(request_)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("idea", 3),
        ("project", "a b"),
        ("project", "../etc"),
        ("project", "x" * 101),
        ("user", "x" * 201),
        ("idea_brief", "a text"),
        ("answers", [{"question": "only"}]),
        ("build_plan", {"phases": [{}]}),
        ("max_tool_calls", 0),
        ("max_tool_calls", 100_001),
        ("max_tool_calls", float("nan")),
        ("turns_per_run", -1),
        ("ideas", "a typo"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object):
    """The first word of the refusal is the field."""
    with pytest.raises(InvalidRequest) as found:
        start({"idea": "x", field: value})

    assert str(found.value).startswith(field)


@pytest.mark.parametrize(
    ("given_", "named"),
    [
        (b"null", "nothing"),
        (b"true", "true or false"),
        (b"1", "a number"),
        (b'"idea"', "a text"),
        (b"[]", "a list"),
    ],
)
def test_anything_but_an_object_is_refused_with_an_example(given_: bytes, named: str):
    """The text says what was given and shows what to give."""
    assert (
        f'The input must be one JSON object such as {{"idea": "a habit tracker"}}, not {named}.'
        == refusal(given_)
    )


def test_a_start_without_input_is_refused():
    """As from the Web UI with an empty form."""
    with pytest.raises(InvalidRequest, match="not nothing"):
        read_start(NO_INPUT, carried=False)


def test_another_encoding_is_refused_by_name():
    """Protobuf or encrypted payloads are no JSON."""
    with pytest.raises(InvalidRequest, match="must be JSON, not 'binary/plain'"):
        read_start(raw(b"\x00", b"binary/plain"), carried=False)


def test_a_large_request_is_refused_with_its_size():
    """The text gives both numbers and the way out."""
    text = refusal(json.dumps({"idea": "x" * MAX_REQUEST_BYTES}).encode())

    assert "262,144" in text
    assert "`project`" in text


def test_the_last_of_two_equal_keys_counts():
    """As in every JSON reader people use."""
    assert "b" == read_start(raw(b'{"idea": "a", "idea": "b"}'), carried=False).request.idea


def test_a_refusal_stays_short_whatever_was_given():
    """It becomes a failure in history and a line in a terminal."""
    assert len(refusal(json.dumps({"idea": "x", "k" * 100_000: 1}).encode())) <= LONGEST_ERROR


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b"{" * 1_000,
        b'{"idea": "x", "max_tool_calls": ' + b"9" * 5_000 + b"}",
        b'{"idea": "x", "turns_per_run": 1e400}',
        b"\xff\xfe\x00",
        b'{"idea": "\\ud800',
        b'{"idea": NaN}',
    ],
)
def test_hostile_input_is_refused(data: bytes):
    """Any other error than a refusal would hang the run for ever."""
    assert refusal(data)


@settings(deadline=None)
@given(st.binary())
def test_no_bytes_break_a_start(data: bytes):
    """A start ends as a state or a refusal, nothing else."""
    try:
        state = read_start(raw(data), carried=False)
    except InvalidRequest:
        return

    assert Status.STARTING is state.status


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(st.sampled_from(sorted(BuildRequest.model_fields)), JSON), st.booleans())
@example({"idea": "x", "kind": "nightshift.state"}, False)
def test_no_json_breaks_a_start(request_: dict[str, Any], carried: bool):  # noqa: FBT001 drawn by hypothesis
    """What is let in can be sent on to the first activity, whatever it holds."""
    try:
        request = start(request_, carried=carried).request
    except InvalidRequest:
        return

    assert request.idea == travels(request).idea


@pytest.mark.parametrize("depth", [1, 50, 100, 150, 200, 250, 300, 900])
def test_a_deep_brief_is_refused_or_travels(depth: int):
    """One that is let in but cannot be sent to an activity would hang the run."""
    data = b'{"idea": "x", "idea_brief": ' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
    try:
        request = read_start(raw(data), carried=False).request
    except InvalidRequest:
        return

    assert request == travels(request)


# --- what was carried over ----------------------------------------------------------------------------


def test_a_carried_state_is_taken_as_it_is():
    """Continue-as-new hands over all that the build knew."""
    state = BuildState(build_id="b", status=Status.CODE, turns=7, notes=("[founder] hello",))

    assert state == read_start(raw(state.model_dump_json().encode()), carried=True)


def test_a_carried_state_is_taken_whatever_its_size():
    """The limit is for people; a build that was let in is not lost by what it was told since."""
    state = BuildState(notes=("x" * MAX_REQUEST_BYTES,))

    assert state == read_start(raw(state.model_dump_json().encode()), carried=True)


def test_a_person_cannot_hand_in_a_state():
    """Only continue-as-new may set a status, a price or a user's spend."""
    state = BuildState(request=BuildRequest(idea="x"), status=Status.CHECKS)
    with pytest.raises(InvalidRequest, match="kind"):
        read_start(raw(state.model_dump_json().encode()), carried=False)


def test_a_retried_run_may_still_begin_with_a_request():
    """`carried` says what may be given, not what must be."""
    assert "x" == start({"idea": "x"}, carried=True).request.idea


# --- cleaning -----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(JSON)
def test_cleaned_values_can_be_stored(value: Any):
    """No NUL and no lone surrogate is left, in a key or anywhere."""
    told = json.dumps(clean(value), ensure_ascii=False)

    assert "\\u0000" not in told
    assert told.encode()


@settings(deadline=None, max_examples=50)
@given(st.recursive(st.none() | st.booleans() | st.integers() | TEXTS, st.lists, max_leaves=8))
def test_cleaning_twice_is_cleaning_once(value: Any):
    """A state that is handed over again and again stays as it is."""
    assert clean(value) == clean(clean(value))


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_storable_text_is_left_alone(text: str):
    """Emoji and every other script come through."""
    assert text == clean(text)


# --- what people say to a running build ----------------------------------------------------------------

SIGNALS = {one.name: one.fn for one in workflow._Definition.must_from_class(BuildWorkflow).signals.values()}
WORDY = [name for name, handler in SIGNALS.items() if len(signature(handler).parameters) > 1]


@pytest.mark.parametrize("words", [(), ("a",), ("a", "b")])
@pytest.mark.parametrize("name", WORDY)
def test_a_signal_takes_any_number_of_words(name: str, words: tuple[str, ...]):
    """The SDK passes on as many as were sent; a handler that cannot be called hangs the build for ever."""
    signature(SIGNALS[name]).bind(Steering(), *words)
