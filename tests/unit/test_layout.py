"""The size and shape rules of the code, held by reading it."""

import ast
import math
import statistics
import subprocess
import tomllib
from pathlib import Path

import pytest

import worker
from activities.settings import Settings
from workflows import ports

ROOT = Path(__file__).parents[2]
VAGUE = {"utils", "util", "helpers", "helper", "manager", "managers", "base", "common"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def tracked() -> list[Path]:
    """The python files under the rules that git knows and that are not deleted just now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", "workflows", "activities", "starter", "worker.py"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    return [path for name in listed if name.endswith(".py") and (path := ROOT / name).exists()]


FILES = tracked()
LINES = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in FILES}
FUNCTIONS = {
    f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
    for path in FILES
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, Function)
}


def above(sizes: dict[str, int], limit: int) -> dict[str, int]:
    """What is larger, largest first."""
    found = sorted(sizes.items(), key=lambda one: -one[1])
    return {name: size for name, size in found if size > limit}


def percentile_95(sizes: dict[str, int]) -> int:
    """The size that 95 in 100 do not exceed."""
    ordered = sorted(sizes.values())
    return ordered[math.ceil(0.95 * len(ordered)) - 1]


def test_the_rules_see_the_code():
    """An empty listing would pass every rule."""
    assert {"worker.py", "workflows/build.py", "activities/model.py", "starter/exits.py"} <= set(LINES)
    assert len(FUNCTIONS) > len(FILES)


def test_no_function_is_over_60_lines():
    """A function fits a screen."""
    assert {} == above(FUNCTIONS, 60)


def test_functions_are_short():
    """Half of all functions have at most 10 lines, 95 in 100 at most 40."""
    assert statistics.median(FUNCTIONS.values()) <= 10
    assert percentile_95(FUNCTIONS) <= 40, above(FUNCTIONS, 40)


def test_no_file_is_over_300_lines():
    """A file has one subject."""
    assert {} == above(LINES, 300)


def test_files_are_short():
    """95 in 100 files have at most 250 lines."""
    assert percentile_95(LINES) <= 250, above(LINES, 250)


def test_modules_are_named_for_what_they_hold():
    """A vague name collects everything."""
    names = {path: {*path.relative_to(ROOT).with_suffix("").parts} for path in FILES}

    assert [] == [path for path, parts in names.items() if parts & VAGUE]


def test_packages_do_nothing_on_import():
    """`__init__.py` is empty."""
    assert [] == [path for path in FILES if path.name == "__init__.py" and path.read_text()]


def test_the_application_is_no_package():
    """It is run from its checkout, so nothing builds a wheel of it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert "build-system" not in project
    assert project["tool"]["uv"]["package"] is False


def test_every_pure_module_passes_the_workflow_sandbox():
    """All of workflows/ but the workflow itself, and nothing that does not exist."""
    modules = (ROOT / "workflows").rglob("*.py")
    dotted = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules}
    packages = {name for name in dotted if name.endswith("__init__")}

    definitions = {f"workflows.{name}" for name in ("build", "janitor", "preview", "unknown")}
    assert sorted(dotted - packages - definitions) == sorted(worker.PURE_MODULES)


# --- ports and their adapters ----------------------------------------------------------------------


def port_classes() -> dict[str, type]:
    """The abstract classes of ports.py."""
    found = {name: one for name, one in vars(ports).items() if isinstance(one, type)}
    return {name: one for name, one in found.items() if one.__module__ == ports.__name__}


def wiring() -> list[tuple[str, type]]:
    """The pairs of `open_activities`: the port's name and the adapter's class, read from its source."""
    tree = ast.parse((ROOT / "worker.py").read_text())
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)]
    (function,) = [node for node in nodes if node.name == "open_activities"]
    made = dict(made_names(function))
    pairs = [node for node in ast.walk(function) if isinstance(node, ast.Tuple) and is_pair(node)]
    return [
        (pair.elts[0].attr, getattr(worker, class_name(made.get(ast.unparse(pair.elts[1]), pair.elts[1]))))
        for pair in pairs
        if isinstance(pair.elts[0], ast.Attribute)
    ]


def is_pair(node: ast.Tuple) -> bool:
    """Tell whether a tuple is `(ports.X, …)`."""
    return len(node.elts) == 2 and ast.unparse(node.elts[0]).startswith("ports.")


def made_names(function: ast.AsyncFunctionDef) -> list[tuple[str, ast.expr]]:
    """What each name of the function was made by."""
    found: list[tuple[str, ast.expr]] = []
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                found += [(ast.unparse(one), by) for one, by in zip(target.elts, value.elts, strict=True)]
            else:
                found.append((ast.unparse(target), value))
    return found


def class_name(made_by: ast.expr) -> str:
    """The name called in `Name(…)`."""
    assert isinstance(made_by, ast.Call), ast.unparse(made_by)
    return ast.unparse(made_by.func)


def test_every_port_has_one_adapter():
    """A port without an adapter would leave its activities waiting for ever."""
    assert sorted(port_classes()) == sorted(name for name, _ in wiring())


def test_every_port_method_is_registered_once():
    """The worker registers exactly the methods of the ports, by their own names."""
    promised = [name for port in port_classes().values() for name in port.__abstractmethods__]
    bound = [
        method.__name__ for name, adapter in wiring() for method in worker.bind(getattr(ports, name), adapter)
    ]

    assert sorted(promised) == sorted(bound)


def test_adapters_leave_no_method_of_their_port_abstract():
    """Each can be made."""
    left = {adapter.__name__: getattr(adapter, "__abstractmethods__", set()) for _, adapter in wiring()}

    assert {} == {name: missing for name, missing in left.items() if missing}


# --- settings ----------------------------------------------------------------------------------------


def settings_body() -> list[ast.stmt]:
    """The statements of the class."""
    tree = ast.parse((ROOT / "activities" / "settings.py").read_text())
    (found,) = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == "Settings"]
    return found.body


def variables() -> list[str]:
    """The environment variables that are read."""
    fields = Settings.model_fields.items()
    return [str(field.validation_alias or name.upper()) for name, field in fields]


def test_every_setting_says_what_it_means():
    """A line under each field."""
    body = settings_body()
    silent = [
        ast.unparse(node.target)
        for node, after in zip(body, [*body[1:], None], strict=True)
        if isinstance(node, ast.AnnAssign)
        and not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant))
    ]

    assert [] == silent


@pytest.mark.parametrize("variable", variables())
def test_every_setting_is_in_the_readme(variable: str):
    """The table of settings is whole."""
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("|")]

    assert any(f"`{variable}`" in row for row in rows), f"README.md has no table row for `{variable}`"
