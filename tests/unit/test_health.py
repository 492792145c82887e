import pytest

from starter.health import check_parts
from starter.local.parts import Part, PartFailed, PartStatus


def status(part: Part, *, healthy: bool = False) -> PartStatus:
    """Of a real part."""
    reason, fix = ("", "") if healthy else ("it is away", f"mend {part}")
    return PartStatus(
        name=part, kind="real", address="there", version="", healthy=healthy, reason=reason, fix=fix
    )


@pytest.mark.parametrize("part", [Part.POSTGRES, Part.S3, Part.TEMPORAL])
def test_no_worker_is_started_on_a_part_that_is_away(part: Part):
    """Which, where, why, and what to mend."""
    with pytest.raises(PartFailed, match=f"{part}: real at there: it is away\n.*mend {part}"):
        check_parts([status(part)], say=print)


@pytest.mark.parametrize("part", [Part.REDIS, Part.SANDBOX, Part.MODEL])
def test_what_a_build_waits_for_or_does_without_stops_nothing(part: Part):
    """The table tells of it."""
    check_parts([status(part), status(Part.S3, healthy=True)], say=print)


def test_of_several_each_is_told():
    """Nobody mends one to be told of the next."""
    said: list[str] = []
    with pytest.raises(PartFailed, match="mend postgres"):
        check_parts([status(Part.POSTGRES), status(Part.S3)], say=said.append)

    assert ["s3: real at there: it is away\n  what to do: mend s3"] == said
