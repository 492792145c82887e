"""What every payload is: a frozen value that history holds and newer code may still read.

Fields are only ever added, with a default; big bytes go by reference.
Money is integer microdollars, sizes are bytes, times are aware datetimes.
"""

from pydantic import BaseModel, ConfigDict

PREVIEW_CHARS = 200
"""The longest text of a preview that history holds, characters."""


class Payload(BaseModel):
    """A recorded value: frozen, and tolerant of fields that newer code added."""

    model_config = ConfigDict(frozen=True, extra="ignore")
