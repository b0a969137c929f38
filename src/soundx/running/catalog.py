"""Catalog and parameters of an environment without a Kedro session, for a page or a command."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dotenv import load_dotenv
from kedro.config import AbstractConfigLoader, MissingConfigException, OmegaConfigLoader
from kedro.framework.context.context import _convert_paths_to_absolute_posix
from kedro.io import DataCatalog
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc
from yaml import MarkedYAMLError, YAMLError

from soundx.errors import SoundxError
from soundx.storage.s3 import check_address, use_settings, without_key


def place(value: object) -> str | None:
    """Return a path or URL as it is meant: ``~`` is somebody's home, empty is nowhere.

    A relative path is left as it is: in the catalog it is meant from the project's folder,
    wherever it was given.

    >>> place(""), place("data"), place("s3://bucket")
    (None, 'data', 's3://bucket')
    """
    text = "" if value is None else str(value).strip()
    return (text if "://" in text else os.path.expanduser(text)) or None


LOADER_ARGS: dict[str, Any] = {
    "base_env": "base",
    "default_run_env": "local",
    # SOUNDX_YAMNET is read in the catalog
    "custom_resolvers": {"oc.env": oc.env, "place": place},
}
"""How ``conf/`` is read, in a run and outside of one."""


class ConfLoader(OmegaConfigLoader):
    """Reads ``conf/`` as Kedro does, and names a file that cannot be read."""

    def _read_dir_configs(
        self, conf_path: str, patterns: Iterable[str], *args: Any
    ) -> dict[Path, DictConfig]:
        try:
            read: dict[Path, DictConfig] = super()._read_dir_configs(conf_path, patterns, *args)
        except (ValueError, AttributeError, OSError, YAMLError, OmegaConfBaseException) as error:
            for pattern in patterns:
                for name in sorted(self._fs.glob(Path(f"{conf_path}/{pattern}").as_posix())):
                    if self._is_valid_config_path(Path(name)):
                        self._check_file(name)
            if type(error) is ValueError:  # two files say the same
                raise SoundxError(f"{error}. Leave one of them.") from None
            raise
        for file, content in read.items():
            _check_names_in(str(file), content)
        return read

    @staticmethod
    def _initialise_filesystem_and_protocol(conf_source: str) -> tuple[Any, str]:
        try:
            made: tuple[Any, str] = OmegaConfigLoader._initialise_filesystem_and_protocol(
                conf_source
            )
        except Exception as error:  # an archive at an address is fetched here
            if "://" not in str(conf_source):
                raise
            # not the message: it may hold a signed address
            raise SoundxError(
                f"The configuration {without_key(str(conf_source))} cannot be fetched "
                f"({type(error).__name__}). Name another: --conf-source=PATH"
            ) from None
        return made

    def _check_file(self, name: str) -> None:
        with self._fs.open(name) as file:
            content: bytes = file.read()
        try:
            # what stands there is not told: it may be a key
            _check_names_in(name, OmegaConf.load(io.StringIO(content.decode())))
        except UnicodeDecodeError:
            raise SoundxError(f"{name} is not UTF-8 text: save it as UTF-8.") from None
        except OSError:  # one number
            _check_names_in(name, None)
        except YAMLError as error:
            mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
            line = f" (line {mark.line + 1})" if mark else ""
            twice = "found duplicate key" in str(error)
            why = "a name stands there twice" if twice else "it is not YAML"
            raise SoundxError(f"{name} cannot be read: {why}{line}. Mend it.") from None


def _check_names_in(file: str, content: Any) -> None:
    if not isinstance(content, DictConfig) or not all(isinstance(name, str) for name in content):
        raise SoundxError(f"{file} cannot be read: every line of it is to be NAME: VALUE.")


# a loader registers its resolvers (globals, runtime_params) for the whole process
_LOADING = threading.Lock()


def open_catalog(
    project: Path, env: str | None = None, *, params: Mapping[str, Any] | None = None
) -> DataCatalog:
    """Return the catalog of an environment.

    Args:
        project: The folder with ``conf/``.
        env: Environment; ``local`` where none is named, as in ``kedro run``.
        params: What ``--params`` would say, such as ``data_root``.
    """
    with _LOADING:
        loader = _loader(project, env, params)
        read_s3_settings(loader, project)
        entries: dict[str, Any] = _convert_paths_to_absolute_posix(project, loader["catalog"])
        return DataCatalog.from_config(entries, _credentials(loader))


def read_parameters(project: Path, env: str | None = None) -> dict[str, Any]:
    """Return the parameters of an environment, as they stand in ``conf/``."""
    with _LOADING:
        return dict(_loader(project, env)["parameters"])


def _loader(
    project: Path, env: str | None, params: Mapping[str, Any] | None = None
) -> OmegaConfigLoader:
    return ConfLoader(
        conf_source=str(project / "conf"),
        env=env or LOADER_ARGS["default_run_env"],
        runtime_params=dict(params) if params else None,
        **LOADER_ARGS,
    )


def read_s3_settings(loader: AbstractConfigLoader, project: Path) -> None:
    """Read ``.env``, then ``s3`` of ``globals.yml`` and of ``credentials.yml``.

    Raises:
        SoundxError: A key stands in an address, where it would be written into logs; or what
            should be settings or keys is something else.
    """
    try:
        load_dotenv(project / ".env")
    except UnicodeDecodeError:
        raise SoundxError(f"{project / '.env'} is not UTF-8 text: save it as UTF-8.") from None
    # before anything is made of them: what is made describes itself in every error
    given = {**loader["globals"], **(loader.runtime_params or {})}
    for address in _texts([given, os.environ.get("SOUNDX_YAMNET", "")]):
        check_address(address)
    settings, keys = loader["globals"].get("s3"), _credentials(loader).get("s3")
    for name, group, names in (
        ("globals.yml", settings, "endpoint_url: ..., region: ..., profile: ..."),
        ("credentials.yml", keys, "key: ..., secret: ..."),
    ):
        if group and not isinstance(group, Mapping):
            raise SoundxError(f"In {name} of conf/, s3 is a group: s3: {{{names}}}")
    use_settings(settings, keys)


def _texts(given: Any) -> Iterator[str]:
    if isinstance(given, str):
        yield given
    elif isinstance(given, Mapping):
        yield from _texts(list(given.values()))
    elif isinstance(given, list | tuple):
        for one in given:
            yield from _texts(one)


def _credentials(loader: AbstractConfigLoader) -> dict[str, Any]:
    try:
        return dict(loader["credentials"])
    except MissingConfigException:
        return {}
