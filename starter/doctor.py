"""What is real, what stands in, what answers, and what to do about the rest; starts nothing."""

from argparse import Namespace
from collections.abc import Sequence

from rich.console import Console

from activities.wrong_settings import WrongSettings
from starter.attach import ROOT, data_directory
from starter.health import check_settings
from starter.local.outside import outside_environment
from starter.local.parts import PartStatus, real_settings
from starter.local.survey import survey
from starter.stack_table import stack_table


async def doctor(_: Namespace, console: Console) -> int:
    """Print each part, and the settings that no part's line tells of; 0 when all that is set can be used."""
    parts = await survey(ROOT, data=data_directory())
    console.print(stack_table(parts))
    wrong = _wrong_settings([part for part in parts if part.kind == "real"])
    for line in wrong:
        console.print(line, style="bold red", markup=False, soft_wrap=True)
    return 0 if not wrong and all(part.healthy for part in parts if part.kind == "real") else 1


def _wrong_settings(real: Sequence[PartStatus]) -> list[str]:
    outside = outside_environment(ROOT)
    told = {name for part in real for name in real_settings(part.name, outside)}
    try:
        check_settings(outside)
    except WrongSettings as error:
        return [line for name, line in error.lines.items() if name not in told]
    return []
