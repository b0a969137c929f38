"""What people are told: the domain names a remedy, and one place knows the command."""

from __future__ import annotations

import ast
import importlib
import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.io import DatasetError

from soundx.errors import AudioError, EmbedderUnavailableError, Remedy, Setting, SoundxError
from soundx.running.catalog import read_parameters
from soundx.running.messages import message_for_people
from tests.conftest import FORGED, ROOT

SOURCE = ROOT / "src/soundx"
DOMAIN = (
    "audio", "storage", "clips", "embedders", "embeddings", "metrics", "modelling", "classifier",
    "listening", "figures", "errors.py", "labels.py", "parallel.py", "progress.py",
)  # fmt: skip
COMMAND = re.compile(r"kedro|--params|--pipelines|--env", re.IGNORECASE)


def modules_of_the_domain() -> Iterator[Path]:
    for room in DOMAIN:
        place = SOURCE / room
        yield from sorted(place.rglob("*.py")) if place.is_dir() else [place]
    yield from sorted(SOURCE.glob("pipelines/*/nodes.py"))


def docstrings(tree: ast.AST) -> set[ast.Constant]:
    """Everything that stands as a sentence of its own, attribute docstrings too."""
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def test_the_domain_names_no_command():
    found = []
    for module in modules_of_the_domain():
        if not module.exists():  # a room that is still to come
            continue
        tree = ast.parse(module.read_text())
        told_to_readers_of_code = docstrings(tree)
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if is_text and node not in told_to_readers_of_code and COMMAND.search(node.value):
                found.append(f"{module.relative_to(SOURCE)}:{node.lineno}: {node.value}")
    assert not found


def names_in(parameters: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in parameters.items():
        yield prefix + name
        if isinstance(value, Mapping):
            yield from names_in(value, f"{prefix}{name}.")


def known_parameters() -> set[str]:
    """Names in conf/, and what else the classes that are named there take."""
    names = {*names_in(read_parameters(ROOT))}
    names |= {*names_in(yaml.safe_load((ROOT / "conf/base/globals.yml").read_text()))}
    for file in (ROOT / "conf/base/parameters").glob("*.yml"):
        for group, dotted in re.findall(r"^(\w+):  # (soundx\S+)", file.read_text(), re.MULTILINE):
            module, _, options = dotted.rpartition(".")
            fields = getattr(importlib.import_module(module), options).model_fields
            names |= {f"{group}.{field}" for field in fields}
    return names


def settings_in_the_source() -> list[Setting]:
    """Each setting that an error names; a number stands for a value that is worked out."""
    return [
        Setting(node.args[0].value, getattr(node.args[1], "value", "1"))
        for module in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Setting"
    ]


@pytest.mark.parametrize("remedy", [*Remedy, *settings_in_the_source()], ids=str)
def test_every_remedy_is_told_as_what_exists(remedy):
    message = message_for_people(SoundxError("It is not there.", remedy=remedy))
    assert message.startswith("It is not there. ")
    options = re.findall(r"--(\w+)=(\S+[^\s.;)])", message)
    assert options or message.endswith("Run: kedro run")
    for option, value in options:
        if option == "pipelines":
            for pipeline in value.split(","):
                assert (SOURCE / "pipelines" / pipeline / "pipeline.py").exists()
        elif option == "env":
            assert (ROOT / "conf" / value).is_dir()
        else:
            assert option == "params"
            assert value.partition("=")[0] in known_parameters()


def test_a_command_works_in_the_environment_that_was_worked_in():
    error = SoundxError("No model.", remedy=Remedy.PREPROCESS_AND_TRAIN)
    told = message_for_people(error, "demo")
    assert told == "No model. Run: kedro run --env=demo --pipelines=preprocessing,training"


def test_outside_of_a_project_the_package_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = message_for_people(SoundxError("No model.", remedy=Remedy.TRAIN))
    assert told == "No model. Run: python -m soundx --pipelines=training"
    begin = message_for_people(SoundxError("No clips.", remedy=Remedy.BRING_CLIPS))
    assert "python -m soundx --env=demo" in begin
    assert "kedro" not in begin


def test_several_settings_are_told_as_a_choice():
    either = (Setting("mirror.force", "true"), Setting("dry_run", "true"))
    told = message_for_people(SoundxError("Nothing was done.", remedy=either))
    assert told.endswith(" Add: --params=mirror.force=true or --params=dry_run=true")


def test_without_a_remedy_an_error_is_told_as_it_is():
    assert message_for_people(SoundxError("It is damaged.")) == "It is damaged."
    assert message_for_people(ZeroDivisionError("ours")) is None


@pytest.mark.parametrize("kind", [SoundxError, AudioError, DatasetError])
def test_nothing_in_a_message_commands_a_terminal(kind):
    told = message_for_people(kind(f"There is no {FORGED}."))
    assert "\\x1b[31m" in told
    assert all(line.isprintable() for line in told.split("\n"))


def test_a_key_that_stands_where_no_address_is_meant_is_not_repeated():
    told = message_for_people(SoundxError("There is no embedder 'https://me:planted@h.example'."))
    assert told == "There is no embedder 'https://***@h.example'."


def test_a_remedy_survives_the_way_from_another_process():
    error = EmbedderUnavailableError("No weights.", remedy=Remedy.GET_YAMNET)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.remedy) == (type(error), str(error), error.remedy)
    assert "embedder=logmel" in message_for_people(again)
