"""What is real, what stands in, what answers, and what to do about the rest; starts nothing."""

from argparse import Namespace
from collections.abc import Sequence

from rich.console import Console

from activities.reach import Resolve, is_private, resolve
from activities.wrong_settings import WrongSettings
from starter.attach import ROOT, data_directory
from starter.health import check_settings
from starter.local.outside import outside_environment
from starter.local.parts import Part, PartStatus, real_settings
from starter.local.survey import survey
from starter.stack_table import stack_table

RELAYED = (
    "note: E2B's sandboxes cannot reach the object store of this machine or its network, so the worker "
    "carries every file between them. It works, as fast as this machine's line to E2B is."
)
"""What a mixed stack means for the files."""


async def doctor(_: Namespace, console: Console) -> int:
    """Print each part, and the settings that no part's line tells of; 0 when all that is set can be used."""
    parts = await survey(ROOT, data=data_directory())
    console.print(stack_table(parts))
    if await is_relayed(parts):
        console.print(RELAYED, markup=False, soft_wrap=True)
    wrong = _wrong_settings([part for part in parts if part.kind == "real"])
    for line in wrong:
        console.print(line, style="bold red", markup=False, soft_wrap=True)
    return 0 if not wrong and all(part.healthy for part in parts if part.kind == "real") else 1


async def is_relayed(parts: Sequence[PartStatus], *, resolve: Resolve = resolve) -> bool:
    """Tell whether a real sandbox and a store out of its reach are used together."""
    kinds = {part.name: part.kind for part in parts}
    if kinds[Part.SANDBOX] != "real":
        return False
    endpoint = outside_environment(ROOT).get("AWS_ENDPOINT_URL_S3", "")
    return kinds[Part.S3] == "stand-in" or await is_private(endpoint, resolve=resolve)


def _wrong_settings(real: Sequence[PartStatus]) -> list[str]:
    outside = outside_environment(ROOT)
    told = {name for part in real for name in real_settings(part.name, outside)}
    try:
        check_settings(outside)
    except WrongSettings as error:
        return [line for name, line in error.lines.items() if name not in told]
    return []
