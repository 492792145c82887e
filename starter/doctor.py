"""What is real, what stands in, what answers, and what to do about the rest; starts nothing."""

from argparse import Namespace

from rich.console import Console

from starter.attach import ROOT, data_directory
from starter.local.survey import survey
from starter.stack_table import stack_table


async def doctor(_: Namespace, console: Console) -> int:
    """Print each part; 0 when every real part answers."""
    parts = await survey(ROOT, data=data_directory())
    console.print(stack_table(parts))
    return 0 if all(part.healthy for part in parts if part.kind == "real") else 1
