"""The Messages API stand-in run as a process, and a small agent that plays scripted builds against it."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from anthropic import AsyncAnthropic
from anthropic.types import Message

from workflows.catalogue import InvalidToolCall, definitions, parse_call

KEY = "local-test-key"
MODEL = "claude-sonnet-5-5"
MARK = {"cache_control": {"type": "ephemeral"}}


@dataclass
class LocalModel:
    """A running server and its clients."""

    url: str
    client: AsyncAnthropic
    http: httpx2.AsyncClient

    async def control(self, path: str, body: Any = None) -> Any:
        """POST to a switch; GET where there is nothing to say."""
        method = "GET" if body is None else "POST"
        reply = await self.http.request(method, f"/_control/{path}", json=body)
        return reply.raise_for_status().json()

    async def reset(self) -> None:
        """Turn every switch back."""
        await self.control("faults", [])
        await self.control("release", {})
        await self.control("limits", {})
        await self.http.delete("/_control/requests")


@asynccontextmanager
async def running_model(data: Path) -> AsyncIterator[LocalModel]:
    """Run the server in a process of its own; it is killed at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "starter.local.model", "--port", "0", "--data", str(data)),
        env={**os.environ, "NIGHTSHIFT_LOCAL_KEY": KEY},
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().split()[-1]
        headers = {"Authorization": f"Bearer {KEY}"}
        async with (
            AsyncAnthropic(api_key=KEY, base_url=url, max_retries=0) as client,
            httpx2.AsyncClient(base_url=url, headers=headers) as http,
        ):
            yield LocalModel(url, client, http)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()


@dataclass
class ToolBox:
    """The nine tools over a plain directory."""

    root: Path
    environment: dict[str, str]
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @classmethod
    def in_directory(cls, root: Path) -> "ToolBox":
        """Give commands an own temporary directory and a free port."""
        for folder in ("workspace", "tmp"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        environment = {"PATH": os.environ["PATH"], "HOME": str(root), "TMPDIR": str(root / "tmp")}
        return cls(root / "workspace", {**environment, "PORT": str(free_port())})

    def close(self) -> None:
        """Stop what still runs in the background."""
        for server in self.servers:
            server.kill()
            server.wait()

    async def run(self, block: dict[str, Any]) -> dict[str, Any]:
        """Run a tool call as the product would: invalid input is an error result."""
        try:
            parse_call(block["name"], block["input"])
            text, is_error = await asyncio.to_thread(getattr(self, block["name"]), **block["input"])
        except (InvalidToolCall, OSError, ValueError) as error:
            text, is_error = str(error), True
        return {"type": "tool_result", "tool_use_id": block["id"], "content": text, "is_error": is_error}

    def read_file(self, path: str, offset: int = 1, limit: int = 2000) -> tuple[str, bool]:
        lines = (self.root / path).read_text().splitlines()[offset - 1 : offset - 1 + limit]
        return "\n".join(f"{number:6}\t{line}" for number, line in enumerate(lines, offset)), False

    def write_file(self, path: str, content: str) -> tuple[str, bool]:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(content)
        return f"File created successfully at: {path}", False

    def edit_file(self, path: str, old_string: str, new_string: str) -> tuple[str, bool]:
        text = (self.root / path).read_text()
        if text.count(old_string) != 1:
            return "String to replace not found in file.", True
        (self.root / path).write_text(text.replace(old_string, new_string))
        return f"The file {path} has been updated.", False

    def bash(self, command: str, timeout_seconds: int = 60, *, background: bool = False) -> tuple[str, bool]:
        line = ["bash", "-c", command]
        if background:
            self.servers.append(subprocess.Popen(line, cwd=self.root, env=self.environment))
            return "Started in the background.", False
        done = subprocess.run(
            line,
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
        head = f"Exit code {done.returncode}\n" if done.returncode else ""
        return f"{head}{done.stdout}{done.stderr}" or "(no output)", done.returncode != 0

    def grep(self, pattern: str, path: str = ".", **_: str) -> tuple[str, bool]:
        found = subprocess.run(
            ["grep", "-rnE", pattern, path], cwd=self.root, capture_output=True, text=True, check=False
        )
        return found.stdout or "No matches.", False

    def glob(self, pattern: str) -> tuple[str, bool]:
        return "\n".join(
            str(path.relative_to(self.root)) for path in self.root.glob(pattern)
        ) or "None.", False

    def take_screenshot(self, path: str = "/") -> tuple[str, bool]:
        return f"No browser here to look at {path}.", True

    def narrate(self, message: str, phase_name: str = "", plan_item: str = "") -> tuple[str, bool]:
        return f"Told{phase_name and ' of a new phase'}: {len(message)} characters.", False

    def document(self, section: str, content: str) -> tuple[str, bool]:
        return f"Wrote {section}, {len(content)} characters.", False


Notes = Callable[[int, list[dict[str, Any]]], list[str]]


@dataclass
class Agent:
    """Sends, runs what is asked for, and sends again, until the model ends its turn."""

    model: LocalModel
    tools: ToolBox
    system: str = "You build software."
    max_turns: int = 90
    messages: list[dict[str, Any]] = field(default_factory=list)
    replies: list[Message] = field(default_factory=list)
    notes: Notes = lambda _turn, _blocks: []

    async def build(self, idea: str) -> "Agent":
        """Play a build to the end of a turn; called again, it answers the last report."""
        self.messages.append({"role": "user", "content": [{"type": "text", "text": idea}]})
        for turn in range(self.max_turns):
            blocks = await self.think()
            if not blocks:
                return self
            results = [await self.tools.run(block) for block in blocks]
            notes = [{"type": "text", "text": note} for note in self.notes(turn, blocks)]
            self.messages.append({"role": "user", "content": [*results, *notes]})
        return self

    async def think(self) -> list[dict[str, Any]]:
        """Buy one reply and return its tool calls."""
        newest = self.messages[-1]
        marked = {**newest, "content": [*newest["content"][:-1], {**newest["content"][-1], **MARK}]}
        async with self.model.client.messages.stream(
            model=MODEL,
            max_tokens=16_000,
            tools=definitions(),
            system=[{"type": "text", "text": self.system, **MARK}],
            messages=[*self.messages[:-1], marked],
        ) as stream:
            reply = await stream.get_final_message()
        self.replies.append(reply)
        content = reply.to_dict()["content"]
        self.messages.append({"role": "assistant", "content": content})
        return [block for block in content if block["type"] == "tool_use"]

    def calls(self, name: str = "") -> list[dict[str, Any]]:
        """Return the inputs of all calls, or of those of one tool, in order."""
        blocks = [block for message in self.messages for block in message["content"]]
        return [b["input"] for b in blocks if b["type"] == "tool_use" and name in ("", b["name"])]

    def results(self) -> list[dict[str, Any]]:
        """Return all tool results, in order."""
        blocks = [block for message in self.messages for block in message["content"]]
        return [block for block in blocks if block["type"] == "tool_result"]

    @property
    def report(self) -> str:
        """What the model said last."""
        return "\n".join(block.text for block in self.replies[-1].content if block.type == "text")

    def tokens(self) -> dict[str, int]:
        """Sum the usage of all replies."""
        names = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        return {name: sum(getattr(reply.usage, name) for reply in self.replies) for name in names}


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def steps(agent: Agent) -> list[str]:
    """Return the script's steps in the order they were played, read from the tool ids."""
    ids = [block["tool_use_id"] for block in agent.results()]
    names = [re.sub(r"^toolu_([^_]+)_.*$", r"\1", tool_use_id) for tool_use_id in ids]
    return [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]


def empty(folder: Path) -> None:
    """Remove everything in a folder."""
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
