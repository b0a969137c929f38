"""What to tell a person about an error: one place for the command line, viewer and notebooks.

The rest of soundx says what is wrong and names a remedy; which command that is stands here.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from kedro.config import MissingConfigException
from kedro.io import DatasetError
from kedro.utils import find_kedro_project
from kedro.validation.exceptions import ParameterValidationError
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from soundx.errors import Remedy, Setting, find_soundx_error
from soundx.markup import printable_lines
from soundx.storage.s3 import without_key

_IN_PROJECT = "kedro run"
_PIPELINES: dict[Remedy, tuple[str, ...]] = {
    Remedy.RUN: (),
    Remedy.INGEST: ("ingestion",),
    Remedy.INGEST_AND_PREPROCESS: ("ingestion", "preprocessing"),
    Remedy.PREPROCESS: ("preprocessing",),
    Remedy.PREPROCESS_AND_TRAIN: ("preprocessing", "training"),
    Remedy.TRAIN: ("training",),
    Remedy.TRAIN_AND_EVALUATE: ("training", "evaluation"),
    Remedy.EVALUATE: ("evaluation",),
    Remedy.KEEP_RECORDINGS: ("recordings",),
    Remedy.LISTEN: ("listening",),
    Remedy.REVIEW: ("review",),
    Remedy.CROSS_VALIDATE: ("cross_validation", "evaluation"),
}
_WAYS = {
    Remedy.BRING_CLIPS: (
        " Four ways to begin:\n"
        "  1. put a folder of clips per label there: <label>/<clip>.wav\n"
        "  2. use a folder you have:   {run} --params=source=DIR\n"
        "  3. use a bucket:            {run} --env=s3\n"
        "  4. see it work first:       {run} --env=demo"
    ),
    Remedy.GET_YAMNET: (
        " Three ways out: (1) connect to the network and run again, YAMNet is fetched once and "
        "kept; (2) set SOUNDX_YAMNET (or --params=yamnet=...) to the folder or s3:// URL of a "
        "YAMNet SavedModel you already have; (3) do without YAMNet, with less accuracy: "
        "--params=embedder=logmel."
    ),
    Remedy.ROLL_BACK: " Name a whole release to be used: kedro rollback VERSION --env={env}",
}
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS)
_ELSEWHERE = (
    "What was finished is kept, and nothing is half written: run it again then, or keep "
    "everything elsewhere: --params=data_root=DIR"
)


def message_for_people(error: Exception, env: str | None = None) -> str | None:
    """Return what to tell a person about an error, or None for a defect of ours.

    Nothing in it commands a terminal, and no key of an address is told.

    Args:
        error: What was raised, however wrapped.
        env: The environment that was worked in, for the commands that are named.
    """
    message = _message(error, env)
    return None if message is None else printable_lines(without_key(message))


def _message(error: Exception, env: str | None) -> str | None:
    ours = find_soundx_error(error)
    if ours is not None:
        return f"{ours}{_advice(ours.remedy, env)}"
    if isinstance(error, ParameterValidationError):
        lines = str(error).splitlines()
        return "\n".join(line for line in lines if "errors.pydantic.dev" not in line)
    if isinstance(error, MissingConfigException):
        return f"{error}. Environments are the folders of conf/."
    if isinstance(error, (YAMLError, OmegaConfBaseException)):
        said = " ".join(str(error).split())
        return (
            f"conf/ cannot be read: {said}. Mend that file; a variable of the environment is "
            "written ${oc.env:NAME} there."
        )
    if isinstance(error, KeyError) and "Unable to find credentials" in str(error):
        said = str(error.args[0]).partition(":")[0]
        return f"{said}, which a dataset asks for: write them into conf/local/credentials.yml."
    if isinstance(error, MemoryError):
        return "There is not enough memory. Close other programs, or give fewer clips at a time."
    for cause in _causes(error):
        if isinstance(cause, OSError) and (told := _about_the_disk(cause)):
            return told
    missing = next((c for c in _causes(error) if isinstance(c, FileNotFoundError)), None)
    if isinstance(error, DatasetError) and missing is not None:
        path = missing.filename or str(missing)
        return f"{path} is not there. Run what makes it first: {command(env=env)}"
    if isinstance(error, DatasetError):
        return str(error)
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _about_the_disk(error: OSError) -> str | None:
    """Tell what to do about a disk that does not take what is written, None of other errors."""
    # of two names the second is the one that is wanted; the first is what we wrote beside it
    name = error.filename2 or error.filename
    if name and error.errno == errno.ENOTDIR:
        path = Path(os.fsdecode(name))
        name = next(part for part in (path, *path.parents) if part.exists())
    where = f" ({name})" if name else ""
    if error.errno in _FULL:
        return f"The disk is full{where}. Make room. {_ELSEWHERE}"
    if error.errno in _NOT_OURS:
        return (
            f"That may not be read or written{where}: {error.strerror}. Change who may, or its "
            f"disk. {_ELSEWHERE}"
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"A file stands where a folder is needed{where}. Move it away. {_ELSEWHERE}"
    if error.errno == errno.EISDIR:
        return f"A folder stands where a file is needed{where}. Move it away. {_ELSEWHERE}"
    if error.errno == errno.ENAMETOOLONG:
        return f"A name is too long for this disk{where}. Give a shorter one."
    if error.errno == errno.EFBIG:
        return f"No file may become as large as that{where}. Allow larger ones: ulimit -f unlimited"
    if error.errno == errno.EMFILE:
        return "Too many files are open. Allow more: ulimit -n 4096"
    return None


def command(remedy: Remedy = Remedy.RUN, *, env: str | None = None) -> str:
    """Return the command that runs what a remedy names.

    Args:
        remedy: Any but those with several ways out.
        env: The environment to run it in; None for the usual one.
    """
    pipelines = ",".join(_PIPELINES[remedy])
    option = f" --pipelines={pipelines}" if pipelines else ""
    return f"{run_command()}{f' --env={env}' if env else ''}{option}"


def next_steps(env: str | None = None, *, on_demo: bool) -> str:
    """Return what to try after a run.

    Args:
        env: The environment it ran in.
        on_demo: Whether it ran on synthesised clips.
    """
    in_project = run_command() == _IN_PROJECT
    if on_demo:
        then = f"your own clips: {run_command()} --params=source=DIR"
    elif in_project:
        then = f"its mistakes by ear: make app{f' ENV={env}' if env else ''}"
    else:
        then = f"its mistakes by ear: {f'KEDRO_ENV={env} ' if env else ''}python -m soundx.viewer"
    return f"kedro viz run{f' --env={env}' if env else ''}, or {then}" if in_project else then


def run_command() -> str:
    """Return what runs pipelines in this folder: Kedro in a project, the package elsewhere."""
    return _IN_PROJECT if find_kedro_project(Path.cwd()) else "python -m soundx"


def _advice(remedy: Remedy | Setting | tuple[Setting, ...] | None, env: str | None) -> str:
    if remedy is None:
        return ""
    if isinstance(remedy, Remedy):
        if remedy in _WAYS:
            return _WAYS[remedy].format(run=run_command(), env=env or "local")
        return f" Run: {command(remedy, env=env)}"
    settings = (remedy,) if isinstance(remedy, Setting) else remedy
    options = (f"--params={setting.name}={setting.value}" for setting in settings)
    return f" Add: {' or '.join(options)}"
