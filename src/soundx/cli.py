"""``kedro run`` for people: what a person can mend is one message, not a traceback."""

from __future__ import annotations

import copy
import difflib
import functools
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.cli.project import package as kedro_package
from kedro.framework.cli.project import run as kedro_run
from kedro.utils import find_kedro_project
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from soundx.errors import DryRunDone, SoundxError, find_soundx_error
from soundx.markup import printable
from soundx.running.given import PLACES
from soundx.running.hooks import SummaryHooks
from soundx.running.messages import message_for_people
from soundx.running.quiet import greetings_withheld
from soundx.storage.s3 import explained_errors

if TYPE_CHECKING:
    from kedro.framework.startup import ProjectMetadata

    from soundx.classifier.releases import Releases

# before TensorFlow is loaded: its start-up notes are not for the people who run soundx
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


class _Stopped(click.ClickException):
    """Somebody pressed Ctrl-C."""

    exit_code = 130  # as shells have it: 128 and the number of SIGINT

    def __init__(self) -> None:
        super().__init__("Stopped. What was finished is kept: run it again to go on.")


@click.group(name="soundx")
def cli() -> None:
    """Commands of the project; Kedro adds its own."""


def _known_pipelines() -> list[str]:
    import pkgutil

    from soundx import pipelines

    return [
        "__default__",
        *sorted(module.name for module in pkgutil.iter_modules(pipelines.__path__)),
    ]


def _check(what: str, wanted: Iterable[str], known: Iterable[str]) -> None:
    """Stop at a name that is none of those known; name the nearest, or all where none is near."""
    known = list(known)
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = (
                f"Did you mean {near[0]}?" if near else f"There are: {', '.join(sorted(known))}."
            )
            raise click.ClickException(f"There is no {what} '{name}'. {meant}")


def _check_selection(options: Mapping[str, Any]) -> None:
    """Stop where nodes, tags or datasets are named that the pipelines to run have not."""
    chosen = {option: options.get(option) or () for option in _SELECTIONS}
    if not any(chosen.values()):
        return
    from kedro.framework.project import pipelines
    from kedro.pipeline import Pipeline

    wanted = list(options.get("pipelines") or []) or ["__default__"]
    pipelines.set_requested(wanted)
    whole = sum((pipelines[name] for name in wanted), Pipeline([]))
    nodes = {node.name for node in whole.nodes}
    spaces = [str(node.namespace).split(".") for node in whole.nodes if node.namespace]
    known = {
        "node": nodes,
        "tag": {tag for node in whole.nodes for tag in node.tags},
        "dataset": {name for name in whole.datasets() if not name.startswith("params:")},
        "namespace": {".".join(parts[: n + 1]) for parts in spaces for n in range(len(parts))},
    }
    for option, what in _SELECTIONS.items():
        _check(what, chosen[option], known[what])
    names = {option: chosen[option] for option in _SELECTIONS if option != "namespaces"}
    try:
        whole.filter(**names, node_namespaces=chosen["namespaces"])
    except ValueError:
        raise click.ClickException(
            "Nothing is left to run: no node is in all that is named. Name fewer of --nodes, "
            "--tags, --from-nodes, --to-nodes, --from-inputs, --to-outputs, --namespaces."
        ) from None


_SELECTIONS = {
    "node_names": "node",
    "from_nodes": "node",
    "to_nodes": "node",
    "tags": "tag",
    "from_inputs": "dataset",
    "to_outputs": "dataset",
    "namespaces": "namespace",
}
"""Options that select a part of a pipeline, and what they name."""


def _check_configuration(source: str | None, env: str | None) -> None:
    if source is not None and not Path(source).is_dir():  # an archive, or the address of one
        return
    folder = Path(source or (find_kedro_project(Path.cwd()) or Path.cwd()) / "conf")
    if not (folder / "base").is_dir():
        raise click.ClickException(
            f"There is no configuration in {folder}. Name it: --conf-source=PATH, where PATH is "
            "a folder with base/ in it, or the archive conf-soundx.tar.gz that 'kedro package' "
            "makes beside the wheel."
        )
    if env is not None:
        _check("environment", [env], [path.name for path in folder.iterdir() if path.is_dir()])


def _check_runner(name: str | None, params: Mapping[str, Any], is_async: bool) -> None:
    import kedro.runner
    from kedro.utils import load_obj

    if name and name.rpartition(".")[2] == "ParallelRunner":
        raise click.ClickException(
            "ParallelRunner cannot hand to other processes what nodes share here. Clips are read "
            "by all processors already: leave --runner out."
        )
    if name and "." not in name:
        _check("runner", [name], _RUNNERS)
    try:
        runner = load_obj(name or _RUNNERS[0], "kedro.runner")
    except (ImportError, AttributeError, ValueError) as error:
        raise click.ClickException(f"There is no runner '{name}' ({error}).") from None
    if not (isinstance(runner, type) and issubclass(runner, kedro.runner.AbstractRunner)):
        raise click.ClickException(
            f"'{name}' is no runner. There are: {', '.join(_RUNNERS)}, and classes of your own "
            "by their dotted path."
        )
    try:
        runner(**params)
    except (TypeError, ValueError) as error:
        raise click.ClickException(
            f"{runner.__name__} cannot be made ({error}). Mend --runner-params, or name another "
            f"--runner: {' or '.join(_RUNNERS)}."
        ) from None
    if is_async or params.get("is_async"):
        raise click.ClickException(
            "Nodes here hand over results as they come, which --async cannot save: leave it out."
        )


_RUNNERS = ("SequentialRunner", "ThreadRunner")


@contextmanager
def _one_message(env: str | None) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        done = find_soundx_error(error)
        if isinstance(done, DryRunDone):
            click.echo(str(done))
            return
        message = message_for_people(error, env)
        if message is None:
            raise
        raise click.ClickException(message) from None
    except KeyboardInterrupt:
        SummaryHooks.note_interruption()
        raise _Stopped from None


def _for_people(command: Any) -> Any:
    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        env = kwargs.get("env")
        if env is None:
            env = os.environ.get("KEDRO_ENV") or None
        _check_configuration(kwargs.get("conf_source"), env)
        single = kwargs.get("pipeline")
        if single and kwargs.get("pipelines"):
            raise click.ClickException("Name all in --pipelines, and leave --pipeline out.")
        wanted = kwargs.get("pipelines") or ([single] if single else [])
        _check("pipeline", wanted, _known_pipelines())
        _check_runner(
            kwargs.get("runner"), kwargs.get("runner_params") or {}, bool(kwargs.get("is_async"))
        )
        _check_selection({**kwargs, "pipelines": wanted})
        with _one_message(env), greetings_withheld():
            return command(*args, **kwargs)

    return wrapped


_HELP = f"""Run pipelines, from ingestion to evaluation where none is named.

\b
Pipelines: {", ".join(_known_pipelines()[1:])}.

\b
  --env=demo                        on synthesised clips, offline
  --params=source=DIR               on your own, in folders named after their labels
  --params=data_root=DIR            results go there; data/ in this folder otherwise
  --params=training.max_epochs=20   any value of conf/base/parameters, for this run
  --pipelines=training,evaluation   only these
  --conf-source=PATH                the configuration: a folder, or the archive that
                                    'kedro package' makes; conf/ otherwise

Without YAMNet's weights, and without a network: --params=embedder=logmel.
"""


_EXPECTED = {
    "params": "NAME=VALUE,NAME=VALUE. Quote what is no plain word, as in "
    "--params=\"ingestion.exclude=[':TEST*']\"; lists of more than one value stand in "
    "conf/local/parameters.yml",
    "runner_params": "NAME=VALUE,NAME=VALUE",
    "load_versions": "DATASET:VERSION,DATASET:VERSION",
    "config": "a YAML file with options of the command below run:, such as 'run: {env: demo}'",
}
"""Options that are read by a grammar of Kedro's, and how they are written."""

_UNREADABLE = (
    YAMLError,
    OmegaConfBaseException,
    click.ClickException,
    UnicodeError,
    # a file of options without a group of them
    OSError,
    LookupError,
    AttributeError,
    TypeError,
)
_HOME = re.compile(rf"((?:^|,)\s*(?:{'|'.join(PLACES)})\s*=\s*)~(?=\s*(?:,|$))")


def _read_for_people(option: click.Parameter) -> click.Parameter:
    """Return an option whose values are read with a word on what cannot be read."""
    read = option.callback
    if option.name not in _EXPECTED or read is None:
        return option

    def callback(context: click.Context, param: click.Parameter, value: Any) -> Any:
        if param.name == "params" and isinstance(value, str):
            value = _HOME.sub(r"\1~/", value)  # YAML reads a lone ~ as nothing
        try:
            return read(context, param, value)
        except _UNREADABLE as error:
            said = " ".join(str(error).split())
            told = f"{value!r} cannot be read ({said}). Expected: {_EXPECTED[param.name or '']}."
            raise click.BadParameter(told, context, param) from None

    wrapped = copy.copy(option)
    wrapped.callback = callback
    return wrapped


run = click.Command(
    name="run",
    callback=_for_people(kedro_run.callback),
    params=[_read_for_people(option) for option in kedro_run.params],
    help=_HELP,
    context_settings=kedro_run.context_settings,
)
cli.add_command(run)


@cli.command("package")
@click.pass_obj
@click.pass_context
def package(context: click.Context, /, metadata: ProjectMetadata) -> None:
    """Make a wheel and an archive of conf/, without what is local and secret, in dist/."""
    project = Path(metadata.project_path)
    secret = _secret_files(project / "conf")
    if secret:
        raise click.ClickException(
            f"{', '.join(str(file.relative_to(project)) for file in secret)} would be packed. "
            "Only what is in conf/local and ends in .yml is left out: move it there."
        )
    # setuptools packs what is still there of an older build
    shutil.rmtree(project / "build/lib", ignore_errors=True)
    context.invoke(kedro_package)


def _secret_files(conf: Path) -> list[Path]:
    """Return files that nobody else is to see, and that Kedro would pack."""
    local = [file for file in (conf / "local").rglob("*") if file.name != ".gitkeep"]
    secret = {*conf.rglob("*credentials*"), *local}
    return sorted(
        file
        for file in secret
        if file.is_file() and not (conf / "local" in file.parents and file.suffix == ".yml")
    )


_env_option = click.option("--env", default="s3", show_default=True, help="Environment of conf/.")


def _releases(env: str) -> Releases:
    from soundx.running.catalog import open_catalog

    _check_configuration(None, env)
    releases: Releases = open_catalog(Path.cwd(), env).load("releases")
    return releases


@cli.command("releases")
@_env_option
def list_releases(env: str) -> None:
    """List what was published, with accuracy and date."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    with _one_message(env):
        releases = _releases(env)
        with explained_errors(str(releases.folder)):
            described, damaged = releases.describe_all()
            try:
                latest = releases.latest
            except SoundxError as error:
                latest = None
                damaged.append(error)
    if not described and not damaged:
        click.echo(f"Nothing was published to {releases.folder} yet: make publish")
        return
    table = Table("version", "accuracy", "95 % interval", "test clips", "published", "", box=None)
    for facts in described.values():
        metrics = facts["metrics"]
        low, high = metrics["accuracy_ci95"]
        table.add_row(
            Text(printable(facts["version"])),
            f"{facts['accuracy']:.3f}",
            f"{low:.3f} to {high:.3f}",
            Text(printable(str(metrics["n_test_clips"]))),
            Text(printable(facts["published"])),
            "latest" if facts["version"] == latest else "",
        )
    # wide enough for whole versions: rollback asks for one
    Console(width=max(110, Console().width)).print(table)
    if damaged:
        raise click.ClickException("\n".join(str(message_for_people(e, env)) for e in damaged))


@cli.command("rollback")
@click.argument("version")
@_env_option
def rollback(version: str, env: str) -> None:
    """Make an older release the latest again; nothing is deleted."""
    with _one_message(env):
        releases = _releases(env)
        with explained_errors(str(releases.folder)):
            releases.rollback(version)
    click.echo(f"{releases.folder}: latest is {version}.")
