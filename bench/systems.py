"""What is measured: ours and its peers, where its Python is, which activities are its model and tools."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from starter.attach import ROOT

BENCH = ROOT / "bench"
ENVIRONMENTS = ROOT / ".nightshift" / "bench"


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One way to run an agent on Temporal."""

    name: str
    """As the results and the plots call it."""
    model: str
    """Pattern of the activity that calls the model."""
    tool: str
    """Pattern of the activity that runs a tool."""
    module: str = ""
    """Of `bench/peers/`; empty: ours."""
    package: str = ""
    """Whose version stands for the system."""
    environment: str = ""
    """Of `.nightshift/bench/` and `bench/requirements/`."""

    @property
    def python(self) -> Path:
        """The interpreter of the peer's own environment."""
        return ENVIRONMENTS / self.environment / "bin" / "python"

    @property
    def version(self) -> str:
        """The pinned version, or our commit."""
        if not self.package:
            told = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=7"]
            return subprocess.run(told, capture_output=True, text=True, check=True).stdout.strip()
        pins = (BENCH / "requirements" / f"{self.environment}.txt").read_text()
        found = re.search(rf"^{re.escape(self.package)}==(\S+)$", pins, re.MULTILINE)
        assert found is not None
        return found[1]


OURS = System(name="nightshift", model=r"^call_model$", tool=r"^run_tool$")
PEERS = (
    System(
        name="openai-agents",
        model=r"^invoke_model_activity$",
        tool=r"^bash$",
        module="openai_agents_peer",
        package="temporalio-openai-agents",
        environment="openai_agents",
    ),
    System(
        name="pydantic-ai",
        model=r"model_request$",
        tool=r"call_tool$",
        module="pydantic_ai_peer",
        package="pydantic-ai-slim",
        environment="pydantic_ai",
    ),
    System(
        name="langgraph",
        model=r"\.agent$",
        tool=r"\.tools$",
        module="langgraph_peer",
        package="temporalio-langgraph",
        environment="langgraph",
    ),
)
CHECKPOINTER = System(
    name="langgraph-postgres",
    model="",
    tool="",
    module="langgraph_postgres",
    package="langgraph-checkpoint-postgres",
    environment="langgraph",
)
"""LangGraph without Temporal, on its own Postgres checkpointer."""
SYSTEMS = {system.name: system for system in (OURS, *PEERS, CHECKPOINTER)}


def chosen(names: str) -> list[System]:
    """The systems of a comma-separated list; all if empty."""
    return [SYSTEMS[name] for name in names.split(",")] if names else list(SYSTEMS.values())
