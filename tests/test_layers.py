"""The rules of the house: which room may know which, and what is not loaded where.

They are held twice: by reading every import, those inside functions as well, and by importing
every module and looking at what came with it.
"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "src" / "soundx"

# each knows what stands before it, and nothing else
ORDER = (
    "markup", "errors", "parallel", "labels", "options",
    "audio", "storage",
    "progress",
    "clips", "embedders", "embeddings", "metrics", "modelling", "classifier", "listening",
    "search", "review",
    "figures", "datasets", "running", "pipelines", "viewer",
)  # fmt: skip
# where Kedro and people come in: they know every room, no room knows them
ENTRANCES = ("cli", "entrance", "settings", "pipeline_registry", "__main__")
# more than their place in the order says
ONLY = {
    "progress": {"errors", "parallel", "labels", "options", "storage"},
    "listening": {
        *("errors", "labels", "parallel", "progress", "audio", "classifier.bundle", "markup"),
        *("storage.checksum", "storage.names", "storage.s3", "storage.whole"),
    },
}

KEDRO = ("kedro", "kedro_datasets", "kedro_mlflow", "kedro_viz")
MAY_KNOW_KEDRO = ("datasets/*", "running/*", "viewer/*", "pipelines/*/pipeline.py")
MAY_KNOW_KEDRO += tuple(f"{name}.py" for name in ENTRANCES)

# seconds to import: only where they are used, save in modules that say so at their head
SLOW = ("tensorflow", "tensorflow_hub", "keras", "tf_keras", "librosa", "matplotlib")
LOADS_SLOW = (
    "classifier/export.py",
    "embedders/tf_front_end.py",
    "running/mlflow_hooks.py",
    "datasets/plots.py",
)

# what listens runs on another machine, without these
NEVER_LISTENING = (*KEDRO, *SLOW[:4], "pandas", "scipy", "sklearn")


class Import(NamedTuple):
    """One import: the line, the module (``soundx.clips.raw``), and when it is carried out."""

    line: int
    module: str
    at_once: bool

    @property
    def top(self) -> str:
        return self.module.split(".")[0]


def imports_of(path: Path, package: Path) -> Iterator[Import]:
    """Yield every import of a module, with relative ones resolved."""
    yield from _imports(ast.parse(path.read_text()).body, path, package, at_once=True)


def _imports(
    nodes: list[ast.stmt] | list[ast.AST], path: Path, package: Path, *, at_once: bool
) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            here = (package.name, *path.relative_to(package).parent.parts)
            base = here[: len(here) + 1 - node.level] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{module}.{alias.name}"
                inside = package.parent / whole.replace(".", "/")
                is_module = inside.is_dir() or inside.with_suffix(".py").exists()
                yield Import(node.lineno, whole if is_module else module, at_once)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", None))
            if called in ("import_module", "__import__"):
                yield Import(node.lineno, str(node.args[0].value), at_once)
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        later |= isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        children = list(ast.iter_child_nodes(node))
        yield from _imports(children, path, package, at_once=at_once and not later)


def violations(package: Path) -> list[str]:
    """Return every import in a package's folder that breaks a rule, as ``file:line: why``."""
    found = []
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        room = name.split("/")[0].removesuffix(".py")
        if room == "__init__":
            room = package.name
        elif room not in ORDER and room not in ENTRANCES:
            found.append(f"{name}: '{room}' has no place in the order of tests/test_layers.py")
            continue
        for imported in imports_of(path, package):
            why = _why_not(name, room, imported, package.name)
            if why:
                found.append(f"{name}:{imported.line}: {why}")
    return found


def _why_not(name: str, room: str, imported: Import, package: str) -> str | None:
    if imported.top in KEDRO and not any(Path(name).match(place) for place in MAY_KNOW_KEDRO):
        return f"imports {imported.module}: only those of {', '.join(MAY_KNOW_KEDRO)} do"
    if imported.top in SLOW and imported.at_once and name not in LOADS_SLOW:
        return f"imports {imported.module} when it is imported: it takes seconds"
    if room == "listening" and imported.top in NEVER_LISTENING:
        return f"imports {imported.module}, which is not there where it listens"
    if imported.top != package or imported.module == package:
        return None
    known = imported.module.split(".")[1]
    if known == room or room in ENTRANCES:
        return None
    if room in ONLY:
        inside = imported.module.removeprefix(f"{package}.")
        may = any(inside == one or inside.startswith(f"{one}.") for one in ONLY[room])
    else:
        may = room in ORDER and known in ORDER[: ORDER.index(room)]
    if may and name.endswith("nodes.py") and known in ("datasets", "running"):
        may = False  # they know Kedro
    return None if may else f"{room} may not know {imported.module}"


def modules_of(room: str) -> list[str]:
    """Return a room's modules that load nothing slow by what they are; scripts are left out."""
    paths = [PACKAGE / f"{room}.py", *sorted((PACKAGE / room).rglob("*.py"))]
    names = [path.relative_to(PACKAGE).as_posix() for path in paths if path.exists()]
    skipped = {*LOADS_SLOW, "viewer/app.py"}  # Streamlit runs it: importing is running
    return [
        f"soundx/{name}".removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in names
        if name not in skipped
    ]


LOADER = """
import importlib, json, sys, warnings
warnings.simplefilter("ignore")
loaded = []
for modules in json.load(sys.stdin):
    for module in modules:
        importlib.import_module(module)
    loaded.append(sorted({name for name in sys.modules if name.split(".")[0] in sys.argv[1:]}))
print(json.dumps(loaded))
"""


def loaded_with(rooms: list[list[str]], *watched: str) -> list[set[str]]:
    """Import modules room by room in a process of its own; return what is loaded after each.

    Of a package of somebody else's only the name, of soundx ``soundx.room``.
    """
    done = subprocess.run(
        [sys.executable, "-c", LOADER, "soundx", *watched],
        input=json.dumps(rooms),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = json.loads(done.stdout.splitlines()[-1])
    return [
        {".".join(n.split(".")[:2]) if n.startswith("soundx.") else n.split(".")[0] for n in some}
        for some in names
    ]


def test_every_import_keeps_the_rules():
    assert violations(PACKAGE) == []


PLANTS = [
    ("audio/level.py", "from soundx.viewer import home", "may not know soundx.viewer.home"),
    ("clips/raw.py", "def f():\n    from soundx import modelling", "may not know soundx.modelling"),
    ("storage/s3.py", "from ..modelling import heads", "may not know soundx.modelling.heads"),
    ("metrics/scores.py", "import soundx.figures.curves as c", "know soundx.figures.curves"),
    ("figures/curves.py", "import_module('soundx.running.runs')", "know soundx.running.runs"),
    ("running/runs.py", "from soundx.pipeline_registry import x", "know soundx.pipeline_registry"),
    ("labels.py", "from soundx.storage.folder import Folder", "may not know soundx.storage.folder"),
    ("progress.py", "from soundx.audio import level", "may not know soundx.audio.level"),
    ("embeddings/map.py", "import kedro.io", "imports kedro.io"),
    ("pipelines/training/nodes.py", "def f():\n    from kedro import io", "imports kedro"),
    ("pipelines/ingestion/nodes.py", "import soundx.datasets.tables", "know soundx.datasets"),
    ("modelling/heads.py", "import keras", "imports keras when it is imported"),
    ("viewer/sound.py", "class A:\n    import librosa.feature", "imports librosa.feature"),
    ("listening/a.py", "from soundx.embedders import base", "may not know soundx.embedders.base"),
    ("listening/b.py", "from soundx.classifier import card", "may not know soundx.classifier.card"),
    ("listening/c.py", "def f():\n    import pandas", "imports pandas"),
    ("attic/old.py", "", "'attic' has no place"),
]


@pytest.fixture(scope="module")
def found_in_planted(tmp_path_factory) -> list[str]:
    """What is named in a copy of the package in which every rule is broken somewhere."""
    package = tmp_path_factory.mktemp("planted") / "soundx"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, code, _ in PLANTS:
        path = package / name
        path.parent.mkdir(exist_ok=True)
        with path.open("a") as file:
            file.write(f"\n{code}\n")
    return violations(package)


@pytest.mark.parametrize(("name", "code", "named"), PLANTS)
def test_an_import_against_the_rules_is_named(found_in_planted, name, code, named):
    found = [line for line in found_in_planted if line.startswith(name)]
    assert len(found) == 1, code
    assert named in found[0]


def test_what_is_allowed_is_not_named(tmp_path):
    package = tmp_path / "soundx"
    code = {
        "__init__.py": "",
        "classifier/bundle.py": "from soundx.errors import SoundxError\n",
        "listening/windows.py": "from soundx.audio import level\n"
        "from soundx.classifier.bundle import Classifier\nfrom soundx import __version__\n",
        "modelling/heads.py": "def f():\n    import keras\n"
        "if TYPE_CHECKING:\n    import tensorflow as tf\n",
        "pipelines/training/pipeline.py": "from kedro.pipeline import Node\n",
        "cli.py": "import kedro\nfrom soundx.viewer import home\n",
    }
    for name, text in code.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    assert violations(package) == []


def test_importing_a_room_loads_nothing_slow_and_no_room_below_it():
    rooms = [*ORDER, *ENTRANCES]
    loaded = loaded_with([modules_of(room) for room in rooms], "kedro", *SLOW)
    for room, names in zip(rooms, loaded, strict=True):
        assert names & set(SLOW) == set(), f"importing {room} loads them"
        if room in ORDER:
            below = {f"soundx.{name}" for name in rooms[rooms.index(room) + 1 :]}
            assert names & below == set(), f"importing {room} loads them"
            if ORDER.index(room) < ORDER.index("datasets"):
                assert "kedro" not in names, f"importing {room} loads Kedro"
    assert "soundx.viewer" in loaded[-1]


def test_what_listens_loads_neither_kedro_nor_tensorflow_nor_tables():
    stands_on = ["soundx.classifier.bundle", "soundx.labels", "soundx.progress"]
    stands_on += ["soundx.audio.decoding", "soundx.audio.level"]
    (loaded,) = loaded_with([stands_on + modules_of("listening")], *NEVER_LISTENING)
    assert loaded & set(NEVER_LISTENING) == set()


def test_the_exceptions_are_there_and_say_so():
    for name in LOADS_SLOW:
        head = ast.get_docstring(ast.parse((PACKAGE / name).read_text()))
        assert head is not None
        assert "import" in head, f"{name} does not say at its head what importing it loads"
