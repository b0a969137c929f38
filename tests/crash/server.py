"""A process in which everything is imported, and which forks one run after the other.

``python -m tests.crash.server PROJECT`` reads a line of JSON a run (``pipelines``, ``params``,
``log``, and perhaps ``largest_file``), answers with the run's process id, and once it has ended
with its exit status. A run is a process of its own, in a session of its own, but need not spend
ten seconds on imports.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
from pathlib import Path
from typing import Any


def serve(project: Path) -> None:
    """Fork runs as they are asked for, until nobody asks."""
    import keras  # noqa: F401  imported here, not in every run
    import matplotlib.pyplot
    import plotly.graph_objects  # noqa: F401
    import sklearn.linear_model
    import sklearn.manifold
    import sklearn.neighbors  # noqa: F401
    import tensorflow as tf  # noqa: F401
    from kedro.framework.startup import bootstrap_project

    import soundx.classifier.export
    import soundx.embedders.tf_front_end  # noqa: F401

    matplotlib.pyplot.switch_backend("agg")
    os.chdir(project)
    bootstrap_project(project)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    print("ready", file=answers)
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            os.setsid()
            os._exit(_run(project, **asked))
        print(child, file=answers)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers)


def _run(
    project: Path,
    pipelines: list[str],
    params: dict[str, Any],
    log: str,
    largest_file: int | None = None,
) -> int:
    from kedro.framework.session import KedroSession

    from soundx.running.messages import message_for_people

    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    try:
        with KedroSession.create(project, env="crash", runtime_params=params) as session:
            session.run(pipeline_names=pipelines)
    except Exception as error:
        message = message_for_people(error)
        if message is None:
            traceback.print_exc()
        else:
            sys.stderr.write(f"Error: {message}\n")
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
