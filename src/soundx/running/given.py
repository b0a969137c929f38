"""What a run was given, held against what is known: names of parameters, and their values.

Kedro takes any name and uses those that something asks for, so that a misspelt one changes
nothing and says nothing. Known are the parameters that nodes ask for, as deep as their classes
say; what ``conf/base`` holds; and the settings that the catalog asks for.
"""

from __future__ import annotations

import difflib
import importlib
import os
import pkgutil
import re
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any

from kedro.config import AbstractConfigLoader, OmegaConfigLoader
from kedro.framework.project import PACKAGE_NAME, pipelines
from kedro.pipeline import Pipeline
from kedro.validation.type_extractor import TypeExtractor
from omegaconf import DictConfig, OmegaConf
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from soundx.embedders import EMBEDDERS
from soundx.errors import SoundxError
from soundx.options import Options
from soundx.running.catalog import place

Known = Mapping[str, Any] | None
"""Names below a name, each with those below it; None where anything may stand."""

_ASKED_FOR = re.compile(r"\$\{(runtime_params|globals):\s*([\w.]+)")
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_MANY = 3
_ALIKE = 0.85
_LONG = 60


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("No file can be called that")
    return value


Place = Annotated[str, AfterValidator(_no_nul)]


class Settings(Options):
    """The settings of ``globals.yml``, which ``--params`` may give as well.

    Attributes:
        data_root: Where everything is kept.
        source: Where the clips are, empty for nowhere.
        recordings: What is listened to, empty for nothing.
        releases: Where classifiers are published.
        embedder: Its name.
        yamnet: Where its weights are.
        level_dbfs: RMS level that clips are brought to, or None.
    """

    model_config = ConfigDict(extra="ignore")

    data_root: Place = Field(min_length=1)
    source: Place | None = ""
    recordings: Place | None = ""
    releases: Place = Field("releases", min_length=1)
    embedder: str = Field("yamnet", min_length=1)
    yamnet: Place | None = ""
    level_dbfs: float | None = Field(None, ge=-100, le=0)


_FILES = ("globals", "parameters", "credentials", "catalog")
_SUFFIXES = (".yml", ".yaml", ".json")
PLACES = ("data_root", "source", "recordings", "releases", "yamnet")
"""Settings that are paths or addresses."""


def check_given(loader: AbstractConfigLoader, project: Path) -> None:
    """Hold what a run was given against what is known, before anything else is read.

    Variables of the environment in places (``${HOME}``) are put in.

    Args:
        loader: Of the run; it has its parameters.
        project: The project's folder.

    Raises:
        SoundxError: A name is not known, or a value cannot be.
    """
    if not isinstance(loader, OmegaConfigLoader):  # somebody's own: nothing is known of it
        return
    given = loader.runtime_params
    _put_in_variables(given)
    conf = _Conf(loader)
    types = _types()
    parameters = _known_parameters(conf, types)
    settings = _known_settings(conf)
    for name in given.keys() & settings.keys() - Settings.model_fields.keys():
        if name not in conf.asked["runtime_params"]:
            raise SoundxError(f"'{name}' is read from conf/local/globals.yml alone: set it there.")
    _check_names(given, {**settings, **parameters}, conf, "--params")
    conf.check_file_names()
    _check_files(conf, parameters, settings)
    _check_values(loader["parameters"], conf, types)
    settings_now = {**loader["globals"], **{k: v for k, v in given.items() if k in settings}}
    settings_given: Settings = _checked(Settings, settings_now, "")
    _check_embedder(settings_given.embedder)
    _check_places(settings_given, project)


class _Conf:
    """What stands in the files of ``conf/``, as it is written there.

    Args:
        loader: What reads them.
    """

    def __init__(self, loader: OmegaConfigLoader) -> None:
        self._loader = loader
        self._read: dict[str, Any] = {}

    def base(self, key: str) -> dict[Path, Any]:
        """Return what stands in ``conf/base``, by file; ``key`` is one of Kedro's."""
        return dict(self._parts(key)[0])

    def env(self, key: str) -> dict[Path, Any]:
        """Return what stands in the environment, likewise."""
        return dict(self._parts(key)[1])

    def file(self, key: str) -> str:
        """Return where a person writes what is meant by one of Kedro's keys."""
        return f"conf/{self._env}/{key}.yml"

    def check_file_names(self) -> None:
        """Fail where a file has almost the name of one that is read."""
        patterns = [one for each in self._loader.config_patterns.values() for one in each]
        for path in sorted((Path(self._loader.conf_source) / self._env).glob("*.*")):
            near = difflib.get_close_matches(path.stem, _FILES, n=1, cutoff=_ALIKE)
            if path.suffix not in _SUFFIXES or any(path.match(one) for one in patterns):
                continue
            if near:
                raise SoundxError(f"{path} is not read. Call it {near[0]}.yml")

    @property
    def _env(self) -> str:
        return str(self._loader.env or self._loader.default_run_env)

    def _parts(self, key: str) -> Any:
        if key not in self._read:
            self._read[key] = self._loader._read_raw_config(key)[:2]
        return self._read[key]

    @cached_property
    def asked(self) -> dict[str, set[str]]:
        """The names that files ask ``runtime_params`` and ``globals`` for; seldom needed."""
        asked: dict[str, set[str]] = {"runtime_params": set(), "globals": set()}
        for key in self._loader.config_patterns.keys() - {"credentials"}:
            for content in (content for part in self._parts(key) for content in part.values()):
                for resolver, name in _ASKED_FOR.findall(OmegaConf.to_yaml(content)):
                    asked[resolver].add(name.partition(".")[0])
        return asked


@cache
def _types() -> dict[str, Any]:
    """Return the class of every parameter that a node of any pipeline asks for, by name."""
    package = importlib.import_module(f"{PACKAGE_NAME or 'soundx'}.pipelines")
    every: dict[str, Pipeline] = {
        module.name: importlib.import_module(f"{package.__name__}.{module.name}").create_pipeline()
        for module in pkgutil.iter_modules(package.__path__)
    }
    # what is registered from elsewhere has parameters too
    every |= {f"registered {name}": pipeline for name, pipeline in pipelines.items()}
    asked: dict[str, Any] = {
        name.removeprefix("params:"): None
        for pipeline in every.values()
        for name in pipeline.inputs()
        if name.startswith("params:")
    }
    return asked | TypeExtractor(every).extract_types_from_pipelines()


def _known_parameters(conf: _Conf, types: Mapping[str, Any]) -> dict[str, Known]:
    known: dict[str, Known] = {}
    for base in conf.base("parameters").values():
        for name, value in base.items():
            known[str(name)] = None if isinstance(value, DictConfig) else {}
    for name, kind in types.items():
        if kind is not None or name not in known:
            known[name] = _names_in(kind)
    return known


def _names_in(kind: Any) -> Known:
    """Return the names below one of this type: a model's fields, none of a number or text."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {
            name: None if "dict" in str(field.annotation).lower() else {}
            for name, field in kind.model_fields.items()
        }
    return {} if kind in (bool, int, float, str) else None


def _known_settings(conf: _Conf) -> dict[str, Known]:
    known: dict[str, Known] = {name: {} for name in Settings.model_fields}
    for base in conf.base("globals").values():
        for name, value in base.items():
            below = value if isinstance(value, DictConfig) else ()
            known[str(name)] = {str(key): {} for key in below}
    return known


def _check_files(
    conf: _Conf, parameters: Mapping[str, Known], settings: Mapping[str, Known]
) -> None:
    for file, content in conf.env("parameters").items():
        for name in content.keys() & settings.keys() - parameters.keys():
            raise SoundxError(f"{file}: '{name}' belongs in {conf.file('globals')}.")
        _check_names(content, parameters, conf, str(file))
    for file, content in conf.env("globals").items():
        # a catalog of somebody's own may ask for one of that name
        for name in content.keys() & parameters.keys() - settings.keys():
            if name not in conf.asked["globals"]:
                raise SoundxError(f"{file}: '{name}' belongs in {conf.file('parameters')}.")
        _check_names(content, settings, conf, str(file))


def _check_names(
    given: Mapping[str, Any], known: Mapping[str, Known], conf: _Conf, place: str
) -> None:
    every = list(_dotted(known))
    for name in _unknown(given, known):
        if name in every and name in given:  # a file holds groups, and no names with dots
            group, _, last = name.rpartition(".")
            if group:
                raise SoundxError(f"{place}: write '{name}' as a group, {group}: {{{last}: VALUE}}")
        if name in every:  # it is known, but nothing is below it
            raise SoundxError(f"{place}: '{name}' is one value, not a group of them.")
        top = name.partition(".")[0]
        if top not in known and any(top in asked for asked in conf.asked.values()):
            continue  # somebody's own setting
        raise SoundxError(f"{place}: there is no parameter '{name}'. {_nearest(name, every)}")


def _unknown(
    given: Mapping[str, Any], known: Mapping[str, Known], prefix: str = ""
) -> Iterator[str]:
    for key, value in given.items():
        name = f"{prefix}{key}"
        if str(key).startswith("_") and not prefix:  # a template of Kedro's
            continue
        if key not in known:
            yield _first_below(name, value)
            continue
        below = known[str(key)]
        if below is not None and isinstance(value, Mapping):
            if not below:
                yield name
            yield from _unknown(value, below, f"{name}.")


def _first_below(name: str, value: Any) -> str:
    while isinstance(value, Mapping) and value:
        key, value = next(iter(value.items()))
        name = f"{name}.{key}"
    return name


def _dotted(known: Mapping[str, Known], prefix: str = "") -> Iterator[str]:
    for name, below in known.items():
        yield f"{prefix}{name}"
        yield from _dotted(below or {}, f"{prefix}{name}.")


def _nearest(name: str, every: list[str]) -> str:
    last = name.rpartition(".")[2]
    same = sorted(known for known in every if known.rpartition(".")[2] == last)
    # all but the same in full, the same in its last part, or like some
    near = difflib.get_close_matches(name, every, n=1, cutoff=_ALIKE) or same[:_MANY]
    near = near or difflib.get_close_matches(name, every, n=1)
    if not near:
        by_last = {known.rpartition(".")[2]: known for known in reversed(every)}
        near = [by_last[found] for found in difflib.get_close_matches(last, by_last, n=1)]
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"There are: {', '.join(sorted(n for n in every if '.' not in n))}."


def _check_values(values: Mapping[str, Any], conf: _Conf, types: Mapping[str, Any]) -> None:
    for name, kind in types.items():
        if name in values and kind is not None:
            _checked(kind, values[name], name)
    for base in conf.base("parameters").values():
        for name, value in base.items():
            # any word but the empty one would be true
            if isinstance(value, bool) and not isinstance(values[str(name)], bool):
                raise SoundxError(f"{name} is true or false, not {values[str(name)]!r}.")


def _checked(kind: Any, value: Any, group: str) -> Any:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        # pydantic ends each message with the address of a page
        raise SoundxError(" ".join(_told(e, group) for e in error.errors())) from None


def _told(error: Any, group: str) -> str:
    name = group
    for part in error["loc"]:
        name += f"[{part}]" if isinstance(part, int) else f"{'.' if name else ''}{part}"
    said = str(error["msg"]).removeprefix("Value error, ")
    value = error["input"]
    if error["type"] == "value_error" and not error["loc"]:
        return f"{name}: {said}."
    if error["type"] == "string_type" and isinstance(value, bool | int | float):
        # YAML reads 007 as 7, 12:30 as 750 and off as false
        kind = "a switch, " if isinstance(value, bool) else "the number "
        return (
            f"{name} was read as {kind}{str(value).lower()}. Put a name like that in quotes: "
            f"--params=\"{name}='NAME'\""
        )
    if error["type"] == "model_type":
        return f"'{name}' is a group of parameters, not one: --params={name}.NAME=VALUE."
    if value in (None, ""):
        return f"{name} is empty: --params={name}=VALUE."
    if error["type"] in ("tuple_type", "list_type"):
        said = f"It is a list: --params='{name}=[{value}]'"
    shown = repr(value) if len(repr(value)) <= _LONG else f"{repr(value)[:_LONG]}..."
    return f"{name} cannot be {shown}. {said}."


def _put_in_variables(given: dict[str, Any]) -> None:
    """Put variables into places: an address from a file of settings may be ``${HOME}/clips``."""
    for name in PLACES:
        value = given.get(name)
        if not isinstance(value, str):
            continue
        missing = [v for v in _VARIABLE.findall(value) if v not in os.environ]
        if missing:
            raise SoundxError(
                f"{name} is '{value}', and there is no variable {missing[0]} in the environment. "
                f"Set it, or write the whole path: --params={name}=DIR"
            )
        given[name] = _VARIABLE.sub(lambda found: os.environ[found[1]], value)


def _check_embedder(name: str) -> None:
    """Fail here, not when all clips have been read, where a short name is misspelt."""
    if "." not in name and name not in (*EMBEDDERS, "auto"):
        raise SoundxError(f"There is no embedder '{name}'. {_nearest(name, [*EMBEDDERS, 'auto'])}")


def _check_places(settings: Settings, project: Path) -> None:
    for name in ("data_root", "source", "recordings", "releases"):
        value = place(getattr(settings, name))
        if value and re.match(r"\w{2,}:(?!//)", value):
            raise SoundxError(
                f"{name} is '{value}', and an address begins with two slashes: "
                f"--params={name}=s3://BUCKET/PREFIX"
            )
    root = place(settings.data_root) or ""
    if "://" in root:
        return
    for folder in (project / root, *(project / root).parents):
        if folder.is_dir():
            return
        if os.path.lexists(folder):
            raise SoundxError(
                f"data_root is {project / root}, and {folder} is a file, not a folder. "
                "Give another: --params=data_root=DIR"
            )
