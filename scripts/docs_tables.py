"""Tables of the documentation that are made from what they describe, so that none goes stale.

MkDocs calls ``on_page_markdown`` for every page: ``<!-- table: make -->`` becomes the table of
the Makefile's targets, and so on for each function in ``TABLES``.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from griffe import Docstring, DocstringSectionAttributes

ROOT = Path(__file__).resolve().parents[1]
PIPELINES = (
    "ingestion",
    "preprocessing",
    "cross_validation",
    "training",
    "evaluation",
    "publishing",
    "listening",
    "recordings",
    "review",
)
sys.path.insert(0, str(ROOT / "src"))  # this tree's, whatever is installed

_PARAMETERS = ("parameter", "value", "what it is")
_LONG = 120
_MARKER = re.compile(r"^<!-- table: (\w+) -->$", re.MULTILINE)


def make_table() -> str:
    """Return the Makefile's targets: what they do, and what to type where there is no make."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    rows = []
    for target, what, recipe in re.findall(
        r"^([a-z0-9-]+):.*?##\s*(.+)\n((?:\t.*\n)*)", text, re.MULTILINE
    ):
        if target == "help":  # it lists these
            continue
        rows.append((f"`make {target}`", what, "<br>".join(dict.fromkeys(_typed(recipe)))))
    return _table(("", "what it does", "without make"), rows)


def _typed(recipe: str) -> Iterator[str]:
    for line in recipe.replace("\\\n", "").splitlines():
        command = re.sub(r"\$\(BIN\)/|\$\((?:ENV_OPTION|ARGS)\)|^\t@?", "", line)
        command = command.replace("$(VENV)", ".venv").replace("KEDRO_ENV=$(ENV) ", "")
        command = " ".join(command.replace("$(VERSION)", "VERSION").split())
        if "$(" in command or len(command) > _LONG:
            yield "as in the Makefile"
        elif not command.startswith("bash scripts"):
            yield f"`{command}`"


def globals_table() -> str:
    """Return the settings of ``conf/base/globals.yml``, each with the comment above it."""
    text = (ROOT / "conf/base/globals.yml").read_text(encoding="utf-8")
    values = yaml.safe_load(text)
    rows, comment = [], []
    for line in text.splitlines():
        if line.startswith("#"):
            comment.append(line.lstrip("# "))
        elif found := re.match(r"(\w+):", line):
            value = values[found[1]]
            inner = value if isinstance(value, dict) else {"": value}
            names = "<br>".join(f"`{found[1]}{'.' if key else ''}{key}`" for key in inner)
            rows.append((names, "<br>".join(map(_value, inner.values())), " ".join(comment)))
            comment = []
    return _table(("setting", "unless you say otherwise", "what it is"), rows)


def parameters_table() -> str:
    """Return ``conf/base/parameters``: the values there, and what their classes say."""
    files = [ROOT / f"conf/base/parameters/{name}.yml" for name in PIPELINES]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files if file.exists())
    classes = dict(re.findall(r"^(\w+):\s+# (soundx\.[\w.]+)$", text, re.MULTILINE))
    plain = {key: what for what, key in re.findall(r"^# (.+)\n(\w+): ", text, re.MULTILINE)}
    alone, sections = [], []
    for name, value in yaml.safe_load(text).items():
        if name in plain:
            alone.append((f"`{name}`", _value(value), plain[name]))
            continue
        options = _class(classes[name])
        told = _attributes(options)
        rows = []
        for key, field in options.model_fields.items():
            default = value.get(key, field.get_default(call_default_factory=True))
            rows.append((f"`{name}.{key}`", _value(default), told[key]))
        what = options.__doc__.splitlines()[0].replace("``", "`")
        sections += [f"## {name}", f"{what} (`{classes[name]}`)", _table(_PARAMETERS, rows)]
    return "\n\n".join([_table(_PARAMETERS, alone), *sections])


def heads_table() -> str:
    """Return what ``make bench-heads`` printed last, from what it kept."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    return "\n".join(importlib.import_module("heads").table())


def _class(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _attributes(options: Any) -> dict[str, str]:
    sections = Docstring(options.__doc__, lineno=1).parse("google", warnings=False)
    return {
        attribute.name: " ".join(attribute.description.split()).replace("``", "`")
        for section in sections
        if isinstance(section, DocstringSectionAttributes)
        for attribute in section.value
    }


def _value(value: Any) -> str:
    text = "empty" if value == "" else f"`{json.dumps(value, default=list)}`"
    return text.replace('"', "")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = []
    for line in (head, ("---",) * len(head), *rows):
        cells = (cell.replace("|", "\\|") for cell in line)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


TABLES = {
    "make": make_table,
    "globals": globals_table,
    "parameters": parameters_table,
    "heads": heads_table,
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the tables in; MkDocs calls this."""
    return _MARKER.sub(lambda found: TABLES[found[1]](), markdown)
