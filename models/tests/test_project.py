"""What `pip install ./models` installs: every module, the command, and the versions of requirements.txt."""

import ast
import re
import sys
import tomllib
from importlib import import_module
from pathlib import Path

MODELS = Path(__file__).parents[1]
PROJECT = tomllib.loads((MODELS / "pyproject.toml").read_text())


def test_the_versions_are_those_of_the_requirements():
    lines = (MODELS / "requirements.txt").read_text().splitlines()
    pinned = {line for line in lines if line and not line.startswith("#")}
    project = PROJECT["project"]
    assert set(project["dependencies"]) | set(project["optional-dependencies"]["test"]) == pinned


def test_every_package_is_installed():
    found = {path.parent.relative_to(MODELS).as_posix() for path in (MODELS / "certiscope_models").rglob("__init__.py")}
    assert {name.replace(".", "/") for name in PROJECT["tool"]["setuptools"]["packages"]} == found


def test_the_command_is_the_one_of_the_module():
    module, function = PROJECT["project"]["scripts"]["certiscope-models"].split(":")
    assert callable(getattr(import_module(module), function))


def test_the_version_is_that_of_certiscope():
    cargo = tomllib.loads((MODELS.parent / "Cargo.toml").read_text())
    assert PROJECT["project"]["version"] == cargo["package"]["version"]


def test_everything_imported_is_a_dependency():
    """The names under which the packages are imported differ from their names in one case."""
    names = {re.split("[=<>]", line)[0].replace("-", "_") for line in PROJECT["project"]["dependencies"]}
    names = {{"pillow": "PIL"}.get(name, name) for name in names}
    imported = set()
    for path in (MODELS / "certiscope_models").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module.partition(".")[0])
    assert imported - set(sys.stdlib_module_names) == names
