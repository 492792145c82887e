"""The rules of `activities/recipes.py`: which commands a project's files ask for."""

import json

import pytest

from activities.recipes import Files, checks, installs, start


def files(*names: str, has_tests: bool = False, has_python: bool = False, **texts: str) -> Files:
    spelt = {name.replace("_DOT_", "."): text for name, text in texts.items()}
    return Files(frozenset({*names, *spelt}), spelt, has_tests=has_tests, has_python=has_python)


def package(**scripts: str) -> str:
    return json.dumps({"scripts": scripts})


def test_a_lock_file_is_installed_as_it_is():
    """Npm ci where there is a lock, npm install where there is none."""
    assert installs(files("package-lock.json", package_DOT_json="{}"))[0].startswith("npm ci")
    assert installs(files(package_DOT_json="{}"))[0].startswith("npm install")


def test_setup_comes_first_and_requirements_win_over_pyproject():
    """System packages before the project's; one way to install Python."""
    commands = installs(files("setup.sh", "requirements.txt", pyproject_DOT_toml="[project]"))

    assert commands[0] == "bash setup.sh"
    assert commands[1].endswith("-r requirements.txt")
    assert len(commands) == 2


def test_a_pyproject_without_a_project_is_not_installed():
    """A file that only configures tools declares nothing."""
    assert installs(files(pyproject_DOT_toml="[tool.ruff]")) == []


def test_scripts_of_a_package_are_its_checks():
    """Build and test, without npm's placeholder."""
    placeholder = 'echo "Error: no test specified" && exit 1'

    assert checks(files(package_DOT_json=package(build="vite build", test="vitest run"))) == [
        "npm run build",
        "npm test",
    ]
    assert checks(files(package_DOT_json=package(test=placeholder))) == []


def test_python_tests_win_over_compiling():
    """Tests prove more."""
    (tested,) = checks(files(has_tests=True, has_python=True))
    (compiled,) = checks(files(has_python=True))

    assert "pytest" in tested
    assert "compileall" in compiled


@pytest.mark.parametrize(
    ("found", "command"),
    [
        (files("app.py", Procfile="release: x\nweb: gunicorn app\n"), "gunicorn app"),
        (files("index.html", package_DOT_json=package(dev="vite", start="node .")), "npm run start"),
        (files("app.py", "manage.py"), "python3 manage.py runserver 0.0.0.0:$PORT"),
        (files("main.py"), "python3 main.py"),
        (files("public/index.html"), "python3 -m http.server $PORT --directory public"),
        (files("notes.txt"), ""),
    ],
)
def test_how_a_project_is_started(found: Files, command: str):
    """What says it most plainly wins: Procfile, scripts, a known program, a page."""
    assert command == start(found)


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"scripts": 3}'])
def test_a_damaged_package_has_no_scripts(text: str):
    """A file that does not parse is the model's fault and stops nothing here."""
    assert files(package_DOT_json=text).scripts == {}
