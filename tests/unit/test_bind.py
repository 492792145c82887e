from abc import ABC, abstractmethod

import pytest
from temporalio import activity

from worker import UnboundPort, bind


class Port(ABC):
    @activity.defn
    @abstractmethod
    async def call_model(self) -> None: ...

    @activity.defn
    @abstractmethod
    async def run_tool(self) -> None: ...


class Adapter(Port):
    def __init__(self) -> None:
        self.made = "by its own client"

    @activity.defn
    async def call_model(self) -> None:
        """Call."""

    @activity.defn
    async def run_tool(self) -> None:
        """Run."""

    async def count(self) -> int:
        """What only the adapter's own side uses."""
        return 1


class Undecorated(Adapter):
    async def run_tool(self) -> None:
        """Overrides an activity without being one."""


class Renamed(Adapter):
    @activity.defn(name="runTool")
    async def run_tool(self) -> None:
        """Registers by another name than the workflow calls."""


class Incomplete:
    @activity.defn
    async def call_model(self) -> None:
        """The only one."""


class NoActivities(ABC):
    @abstractmethod
    async def helper(self) -> None: ...


def names(methods: list) -> list[str]:
    return sorted(method.__name__ for method in methods)


def test_an_adapter_gives_exactly_what_its_port_promises():
    """Every promised method, bound to the adapter, and no other."""
    adapter = Adapter()
    methods = bind(Port, adapter)

    assert ["call_model", "run_tool"] == names(methods)
    assert all(method.__self__ is adapter for method in methods)


def test_a_method_that_is_no_activity_is_refused():
    """An override that forgot the decorator would be called by nobody."""
    with pytest.raises(UnboundPort, match=r"Undecorated\.run_tool registers as None, not 'run_tool'"):
        bind(Port, Undecorated())


def test_a_method_of_another_name_is_refused():
    """The workflow schedules by the port's name."""
    with pytest.raises(UnboundPort, match=r"Renamed\.run_tool registers as 'runTool', not 'run_tool'"):
        bind(Port, Renamed())


def test_a_missing_method_is_refused():
    """An adapter that is no subclass may lack one."""
    with pytest.raises(UnboundPort, match="run_tool"):
        bind(Port, Incomplete())


def test_a_port_without_activities_is_refused():
    """It would register nothing, and say nothing."""
    with pytest.raises(UnboundPort, match="NoActivities promises no activity"):
        bind(NoActivities, Adapter())
