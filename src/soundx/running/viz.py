"""Kedro-Viz, guarded: pages that run no script but its own, answers to hosts that we serve.

Kedro-Viz shows what others chose (file names, labels, messages of failed runs), some of it as
HTML, asks a font server at every visit, answers any web page that has its own name point to this
machine (DNS rebinding), and uploads the site to whichever bucket a request names. A content policy,
a check of the host and reading alone end all four.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any

HOSTS = "SOUNDX_VIZ_HOSTS"
"""The variable with further names that Kedro-Viz is served under, separated by commas."""

POLICY = {
    "default-src": "'self'",
    "script-src": "'self'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' data:",
    "font-src": "'self' data:",
    "worker-src": "'self' blob:",
    "connect-src": "'self'",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'none'",
}
"""What a page may load and run: nothing of another host, no script written into it."""

_READING = ("GET", "HEAD")
_FOREIGN_LINK = re.compile(r"<link\b[^>]*https?://[^>]*>\s*")


def guard_site(folder: Path) -> None:
    """Write the policy into the pages of a static site, and take links to other hosts out."""
    tag = f'<meta http-equiv="Content-Security-Policy" content="{_policy()}">'
    for name in ("index.html", "404.html"):
        page = folder / name
        if page.is_file():
            text = _FOREIGN_LINK.sub("", page.read_text(encoding="utf-8"))
            page.write_text(text.replace("<head>", f"<head>{tag}", 1), encoding="utf-8")


def guard_server() -> None:
    """Guard the server of ``kedro viz run``, where this process is one.

    It reads the project's settings, with hooks or without, before it makes its application.
    """
    if "kedro_viz.server" not in sys.modules:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of FastAPI's, on what Kedro-Viz uses of it
        from kedro_viz.api import apps

    create = apps.create_api_app_from_project
    if hasattr(create, "__wrapped__"):
        return

    @functools.wraps(create)
    def guarded(project_path: Path, autoreload: bool = False) -> Any:
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from starlette.responses import PlainTextResponse

        app = create(project_path, autoreload)
        # its reloading is a script in the page
        policy = _policy(**({"script-src": "'unsafe-inline'"} if autoreload else {}))

        async def add_policy(request: Any, call_next: Any) -> Any:
            if request.method in _READING:
                answer = await call_next(request)
            else:  # to publish the site, with the owner's keys
                answer = PlainTextResponse(
                    "This server is for reading.", 405, {"Allow": ", ".join(_READING)}
                )
            answer.headers["Content-Security-Policy"] = f"{policy}; frame-ancestors 'none'"
            answer.headers["X-Content-Type-Options"] = "nosniff"
            return answer

        app.middleware("http")(add_policy)
        more = [name.strip() for name in os.environ.get(HOSTS, "").split(",") if name.strip()]
        app.add_middleware(
            TrustedHostMiddleware,
            allowed_hosts=["127.0.0.1", "localhost", *more],
            www_redirect=False,
        )
        return app

    apps.create_api_app_from_project = guarded


def _policy(**more: str) -> str:
    rules = {name: f"{value} {more.get(name, '')}".strip() for name, value in POLICY.items()}
    return "; ".join(f"{name} {value}" for name, value in rules.items())
