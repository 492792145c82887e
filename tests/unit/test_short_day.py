import tempfile
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from starter.local.short_day import ZONE, write_zone, zone_environment


@pytest.mark.parametrize(
    "midnight",
    [
        datetime(2026, 11, 26, 11, 17, 5, tzinfo=UTC),
        datetime(2026, 3, 1, tzinfo=UTC),
        datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC),
    ],
)
def test_midnight_is_where_it_was_put(tmp_path: Path, midnight: datetime):
    """The day before ends there, to the second, whatever the hour."""
    write_zone(tmp_path, midnight=midnight)
    with (tmp_path / ZONE).open("rb") as file:
        zone = ZoneInfo.from_file(file)

    assert midnight.astimezone(zone).replace(tzinfo=None) == datetime.combine(midnight, time())
    assert (midnight - timedelta(seconds=1)).astimezone(zone).date() < midnight.astimezone(zone).date()


def test_the_systems_own_zones_are_found_behind_it():
    """A worker that knows the made-up zone knows all others."""
    folder, *others = zone_environment(Path(tempfile.gettempdir()))["PYTHONTZPATH"].split(":")

    assert tempfile.gettempdir() == folder
    assert all(Path(each).is_absolute() for each in others)
