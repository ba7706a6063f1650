"""Each module of the product has tests at the mirrored path, or `mirroring.toml` says where."""

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("revcred", "metering", "storefront")
ELSEWHERE = tomllib.loads((ROOT / "tests/mirroring.toml").read_text())["elsewhere"]
MODULE_IN_TEXT = re.compile(rf"(?:{'|'.join(OURS)})(?:\.\w+)+")

# Django imports these of every app by their names, and so does whatever uses Django.
IMPORTED_BY_DJANGO = {"admin", "apps", "formats", "management", "models", "postgresql"}
IMPORTED_BY_DJANGO |= {"settings", "templatetags", "urls"}
USES_DJANGO = (
    "call_command",
    "client",
    "django_db",
    "live_server",
    "manage.py",
    "sign_in",
    "stack",
)
# Programs that a stack starts by name.
STARTED_BY_STACK = [
    "revcred/rsgi.py",
    "metering/tasks.py",
    "revcred/celery.py",
    "revcred/launcher/stack.py",
    "revcred/tasks.py",
    "revcred/wsgi.py",
]


@cache
def modules() -> tuple[str, ...]:
    """Return the paths of the modules that hold more than imports."""
    paths = (path for app in OURS for path in (ROOT / app).rglob("*.py"))
    with_code = (
        path.relative_to(ROOT).as_posix()
        for path in paths
        if "migrations" not in path.parts and any(map(is_code, parsed(path).body))
    )
    return tuple(sorted(with_code))


def is_code(node: ast.stmt) -> bool:
    """Return False for an import, a docstring, and the list of names that a package offers."""
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    is_offer = ast.unparse(node).startswith("__all__ =")
    return not (isinstance(node, ast.Import | ast.ImportFrom) or is_text or is_offer)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def mirrored(module: str) -> str:
    """Return the path where the tests of a module belong."""
    folder, _, file = module.rpartition("/")
    name = folder.rpartition("/")[2] + ".py" if file == "__init__.py" else file
    return f"tests/{folder}/test_{name.removeprefix('__').replace('__.', '.')}"


def listed() -> Iterator[tuple[str, str]]:
    """Yield each listed module with the file of its tests."""
    for entry in ELSEWHERE:
        yield from ((module, entry["tests"]) for module in entry["modules"])


# --- What a test reaches --------------------------------------------------------------------------


def files_of(name: str) -> Iterator[str]:
    """Yield the files that importing a module by its dotted name runs, parents included."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        path = "/".join(parts[:length])
        if (ROOT / f"{path}.py").is_file():
            yield f"{path}.py"
        elif (ROOT / path / "__init__.py").is_file():
            yield f"{path}/__init__.py"
            if (ROOT / path / "__main__.py").is_file():
                yield f"{path}/__main__.py"


@cache
def imported_by(path: str) -> frozenset[str]:
    """Return the files of ours that a file imports, or names in a text as settings do."""
    names = set()
    for node in ast.walk(parsed(ROOT / path)):
        match node:
            case ast.Import(names=imported):
                names |= {each.name for each in imported}
            case ast.ImportFrom(module=str(package), names=imported):
                names |= {f"{package}.{each.name}" for each in imported}
            case ast.Constant(value=str(text)):
                names |= {*MODULE_IN_TEXT.findall(text)}
    ours = {name for name in names if name.startswith((*OURS, "tests."))}
    return frozenset(file for name in ours for file in files_of(name))


def reached_by(test: str) -> set[str]:
    """Return the files that a test may run: what it imports, and what that imports."""
    text = (ROOT / test).read_text()
    waiting = {test}
    if any(word in text for word in USES_DJANGO):
        names = {module: {*Path(module).with_suffix("").parts} for module in modules()}
        waiting |= {module for module in names if names[module] & IMPORTED_BY_DJANGO}
    if "stack" in text:
        waiting |= {*STARTED_BY_STACK}
    reached = set()
    while waiting:
        reached.add(path := waiting.pop())
        waiting |= imported_by(path) - reached
    return reached


# --- The list -------------------------------------------------------------------------------------


def test_every_module_has_its_tests_at_the_mirrored_path_or_is_listed():
    elsewhere = dict(listed())

    missing = [
        module
        for module in modules()
        if module not in elsewhere and not (ROOT / mirrored(module)).is_file()
    ]

    assert missing == []


def test_the_list_names_no_module_twice_none_that_is_gone_and_none_with_tests_of_its_own():
    times = Counter(module for module, _ in listed())

    assert [module for module in times if times[module] > 1] == []
    assert sorted(times.keys() - set(modules())) == []
    assert [module for module in times if (ROOT / mirrored(module)).is_file()] == []


def test_every_entry_has_a_reason():
    assert [entry for entry in ELSEWHERE if entry.keys() != {"tests", "why", "modules"}] == []
    assert [entry for entry in ELSEWHERE if len(entry["why"].split()) < 4] == []


@pytest.mark.parametrize("entry", ELSEWHERE, ids=lambda entry: entry["tests"])
def test_the_tests_that_are_listed_reach_the_modules(entry):
    assert sorted(set(entry["modules"]) - reached_by(entry["tests"])) == []


def test_the_tests_at_a_mirrored_path_reach_the_module():
    pairs = [(module, mirrored(module)) for module in modules()]
    there = [(module, test) for module, test in pairs if (ROOT / test).is_file()]

    assert [(module, test) for module, test in there if module not in reached_by(test)] == []
