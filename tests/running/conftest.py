from __future__ import annotations

from tests.running.projects import project, project_on  # noqa: F401  fixtures
