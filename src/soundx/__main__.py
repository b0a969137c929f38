"""``python -m soundx``: run the packaged project."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def main(*args: Any, **kwargs: Any) -> Any:
    """Run pipelines as ``kedro run`` does."""
    package = Path(__file__).parent
    if not Path("conf/logging.yml").exists():
        # read when Kedro is imported; without it every dataset that is loaded is a line
        os.environ.setdefault("KEDRO_LOGGING_CONFIG", str(package / "logging.yml"))
    from kedro.framework.cli.utils import find_run_command
    from kedro.framework.project import configure_project

    configure_project(package.name)
    kwargs["standalone_mode"] = not hasattr(sys, "ps1")
    return find_run_command(package.name)(*args, **kwargs)


if __name__ == "__main__":
    main()
