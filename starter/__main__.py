"""How people start Nightshift: `python -m starter COMMAND`."""

import argparse
import importlib
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from rich.console import Console

from starter.exits import run

Command = Callable[[argparse.Namespace, Console], Awaitable[int]]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m starter", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    one = commands.add_parser("demo", help="start everything and build an example")
    one.add_argument("file", nargs="?", type=Path, help="a request; default: the habit tracker")
    one.add_argument("--json", action="store_true", help="print the result as JSON on the last line")
    one = commands.add_parser("demo-sleep", help="a build that spends its day, sleeps and wakes, in a minute")
    one.add_argument("--json", action="store_true", help="print the result as JSON on the last line")
    one.add_argument("--midnight-in", type=float, default=40, help="seconds from the build's start")
    commands.add_parser("up", help="keep the stack and a worker running until Ctrl-C")
    commands.add_parser("fetch", help="get the programs that the stack and the tests need, once for a user")
    commands.add_parser("doctor", help="each part: real or stand-in, reachable or not, and the fix")
    one = commands.add_parser("start", help="start a build")
    one.add_argument("file", nargs="?", type=Path, help="a request, as in examples/")
    one.add_argument("--idea", default="", help="the idea in a sentence")
    for name in ("project", "user", "model", "id"):
        one.add_argument(f"--{name}", default="")
    one.add_argument("--budget", default="", metavar="DOLLARS", help="what it may spend in all")
    one.add_argument("--watch", action="store_true", help="show it until it ends")
    for name, about in (
        ("rewind", "take a build back to a restore point, files and conversation together"),
        ("fork", "start a build that goes on from a restore point of another one"),
    ):
        _declare_branch(commands.add_parser(name, help=about))
    for name, about in (
        ("watch", "show a build's events until it ends"),
        ("timeline", "the last steps of a build"),
        ("preview", "serve the app of a finished build again"),
        ("wake", "wake a sleeping build"),
        ("pause", "pause a build at once; its running step is cut short"),
        ("resume", "go on after `pause`"),
    ):
        commands.add_parser(name, help=about).add_argument("id", help="workflow id")
    _declare_build(commands.add_parser)
    _declare_add(commands.add_parser("add", help="add money to the day of a user, or of a build's user"))
    _declare_admin(commands.add_parser("admin", help="see and change a user"))
    one = commands.add_parser("switch", help="the kill switch: off parks every build before its next call")
    one.add_argument("to", choices=("on", "off"))
    return top


def _declare_build(add: Callable[..., argparse.ArgumentParser]) -> None:
    """What is asked of a build, and said to it."""
    one = add("status", help="where a build stands")
    one.add_argument("id", help="workflow id")
    one.add_argument("--json", action="store_true")
    one = add("receipt", help="what a build cost: by phase, tool and day, and what was lost")
    one.add_argument("id", help="workflow id or build id")
    one.add_argument("--json", action="store_true")
    one = add("quote", help="what builds of similar plans cost")
    one.add_argument("file", nargs="?", type=Path, help="a request, as in examples/")
    one.add_argument("--idea", default="", help="the idea in a sentence")
    one.add_argument("--json", action="store_true")
    one = add("say", help="say something to the agent")
    one.add_argument("id", help="workflow id")
    one.add_argument("text")
    one = add("model", help="change the model of a running build from its next call on")
    one.add_argument("id", help="workflow id")
    one.add_argument("model", metavar="MODEL", help="e.g. claude-haiku-5-5, or `plan` for the plan's")
    one = add("stop", help="end a build; its files are saved")
    one.add_argument("id", help="workflow id")
    one.add_argument("text", nargs="?", default="", help="the reason")


def _declare_branch(one: argparse.ArgumentParser) -> None:
    one.add_argument("id", help="workflow id or build id")
    one.add_argument("--turn", type=int, metavar="N", help="of a restore point; without it they are listed")
    about = "what a new build may spend in all"
    one.add_argument("--budget", default="", metavar="DOLLARS", help=about)
    one.add_argument("--say", default="", metavar="TEXT", help="what to tell the agent of a new build")
    one.add_argument("--model", default="", help="of a new build; default: the same")
    one.add_argument("--id", default="", dest="new_id", metavar="ID", help="of a new build")
    one.add_argument("--watch", action="store_true", help="show a new build until it ends")


def _declare_add(one: argparse.ArgumentParser) -> None:
    one.add_argument("id", metavar="USER_OR_BUILD", help="a user, or the workflow id of a running build")
    one.add_argument("amount", metavar="AMOUNT", help="dollars, e.g. 5 or 0.25")


def _declare_admin(one: argparse.ArgumentParser) -> None:
    edits = one.add_subparsers(dest="edit", required=True, metavar="WHAT")
    for name, value, about in (
        ("show", "", "plan, money, limits"),
        ("tier", "TIER", "give a user a plan; makes the user if there is none"),
        ("budget", "DOLLARS", "a cycle's budget, or `plan` for the plan's"),
        ("renews", "DATE", "a day on which the cycle renews, or `plan` for the first of each month"),
        ("timezone", "ZONE", "where the user's midnight is, e.g. Europe/Berlin"),
        ("suspend", "", "no build of the user starts or goes on"),
        ("resume", "", "end a suspension"),
        ("model", "MODEL", "the model of new builds, or `plan` for the plan's"),
        ("limit", "NUMBER", "builds at once, builds a day or tool calls, or `plan` for the plan's"),
    ):
        one = edits.add_parser(name, help=about)
        one.add_argument("user", metavar="USER")
        if name == "limit":
            one.add_argument("name", choices=("concurrent_builds", "builds_a_day", "tool_calls"))
        if value:
            one.add_argument("value", metavar=value)
        if name == "model":
            one.add_argument("--role", default="coder")


def command_of(name: str) -> Command:
    """What a command runs; imported only now, so that --help answers at once."""
    if name in ("demo", "up", "fetch", "doctor"):
        module = importlib.import_module(f"starter.{name}")
        return getattr(module, name)
    if name == "demo-sleep":
        return importlib.import_module("starter.demo_sleep").demo_sleep
    if name in ("add", "admin", "switch"):
        return getattr(importlib.import_module("starter.admin"), name)
    if name == "model":
        return importlib.import_module("starter.changes").model
    if name in ("rewind", "fork"):
        return getattr(importlib.import_module("starter.branches"), name)
    if name in ("receipt", "quote"):
        return getattr(importlib.import_module("starter.money"), name)
    from starter import commands

    table: dict[str, Command] = {
        "start": commands.start,
        "watch": commands.watch,
        "status": commands.status,
        "timeline": commands.timeline,
        "preview": commands.preview,
    }
    return table.get(name, commands.signal)


async def main(given: argparse.Namespace) -> int:
    """Run a command; an expected failure is said in a line, without a traceback."""
    # Looking for plugins reads the metadata of all that is installed, which no command needs.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from temporalio.client import WorkflowQueryFailedError
    from temporalio.exceptions import WorkflowAlreadyStartedError
    from temporalio.service import RPCError

    from activities.wrong_settings import WrongSettings
    from starter.commands import explain
    from starter.local.parts import PartFailed
    from starter.requests import UnusableRequest
    from workflows.texts import clean

    # Bytes of the command line that are no UTF-8 arrive as lone surrogates, which nothing can store.
    for name, value in vars(given).items():
        if isinstance(value, str):
            setattr(given, name, clean(value))
    console = Console(stderr=bool(getattr(given, "json", False)) and "demo" in given.command, highlight=False)
    try:
        return await command_of(given.command)(given, console)
    except (PartFailed, UnusableRequest, WrongSettings) as error:
        console.print(str(error), style="bold red", markup=False, soft_wrap=True)
    except (RPCError, RuntimeError, WorkflowAlreadyStartedError, WorkflowQueryFailedError) as error:
        console.print(explain(error), style="bold red", markup=False, soft_wrap=True)
    return 1


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 a clear word beats a syntax error
        sys.exit("Nightshift needs Python 3.11 or newer.")
    run(main(parser().parse_args()))
