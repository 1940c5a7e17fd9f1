"""Who may import whom, and who may read the environment: tables, checked by reading the code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A part of `shared` -> the parts of `shared` that it may import. Not listed: any.
SHARED = {
    "canonical": set[str](),
    "framing": set[str](),
    "protocols": {"canonical", "framing"},
    "bus": {"canonical"},
    "catalog": {"canonical"},
}
# What every part of `shared` may import: settings, the clock, telemetry's names.
LEAVES = {"config", "clock", "telemetry"}
PURE = {"canonical", "framing", "protocols"}  # not even those

# Starting things is what these are for.
STARTERS = {"__main__", "commands", "standalone"}

# A package -> who may import it. The others take what these give them.
CONFINED = {
    "aiohttp": {"services/providers"},
    "chdb": {"services/audit"},
    "clickhouse_connect": {"services/audit", "services/control"},
    "httpx": {"services/providers"},
    "pydantic": {"services/control", "shared/config.py"},  # operators' input, not the hot path
}

# What codecs must not be able to reach.
IMPURE = {"asyncio", "datetime", "logging", "os", "random", "secrets", "socket", "time", "uuid"}

DRAWERS = {"utils", "util", "helpers", "helper", "common", "base", "misc"}

FILES = sorted(
    path.relative_to(ROOT)
    for folder in ("services", "shared")
    for path in (ROOT / folder).rglob("*.py")
)


def _imports(path: Path, tree: ast.AST) -> Iterator[str]:
    """Every module that a file imports, absolute, wherever in the file it does so."""
    package = path.parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _complaint(path: Path, module: str) -> str | None:
    folder, part = path.parts[0], path.parts[1].removesuffix(".py")
    root, inside, *_ = (*module.split("."), "")
    if folder == "shared" and root == "services":
        return "shared knows no service"
    if folder == "services" and root == "services" and part not in {inside, *STARTERS}:
        return "services meet on the bus alone"
    if root == "shared" and inside and folder == "shared" and part in SHARED:
        allowed = SHARED[part] | {part} | (set[str]() if part in PURE else LEAVES)
        if inside not in allowed:
            return f"shared/{part} may import {', '.join(sorted(allowed))}"
    if root in CONFINED and not any(path.is_relative_to(owner) for owner in CONFINED[root]):
        return f"only {', '.join(sorted(CONFINED[root]))} may"
    if folder == "shared" and part in PURE and root in IMPURE:
        return f"shared/{part} is pure"
    return None


def _complaints(path: Path, source: str) -> list[str]:
    tree = ast.parse(source)
    found = [
        f"{path} imports {module}: {complaint}"
        for module in _imports(path, tree)
        if (complaint := _complaint(path, module))
    ]
    reads = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    if reads & {"environ", "environb", "getenv"} and path != Path("shared/config.py"):
        found.append(f"{path} reads the environment")
    return found


def test_every_file_keeps_to_its_layer() -> None:
    assert FILES
    assert [c for path in FILES for c in _complaints(path, (ROOT / path).read_text())] == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("services/ingress/x.py", "from services.pipeline import call"),
        ("services/ingress/x.py", "from ..pipeline import call"),
        ("services/pipeline/x.py", "import httpx"),
        ("services/ingress/x.py", "from clickhouse_connect import get_client"),
        ("services/ingress/x.py", "import os; os.environ"),
        ("shared/canonical/x.py", "from ..bus import topology"),
        ("shared/protocols/x.py", "import time"),
        ("shared/protocols/openai_chat/x.py", "from shared import config"),
        ("shared/bus/x.py", "def f():\n    from shared.protocols import registry"),
        ("shared/catalog/x.py", "import services.audit"),
    ],
)
def test_a_forbidden_line_is_found(path: str, line: str) -> None:
    assert len(_complaints(Path(path), line)) == 1


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("services/commands.py", "from services.audit import embedded"),
        ("services/ingress/x.py", "from .auth import Mirror"),
        ("services/providers/x.py", "import httpx"),
        ("shared/bus/x.py", "from shared.config import Settings"),
        ("shared/protocols/openai_chat/x.py", "from ...canonical.events import Event"),
    ],
)
def test_an_allowed_line_is_let_through(path: str, line: str) -> None:
    assert _complaints(Path(path), line) == []


def test_modules_are_named_for_what_they_hold() -> None:
    assert [str(path) for path in FILES if DRAWERS & {*path.parts, path.stem}] == []
