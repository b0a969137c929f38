"""Write Kedro-Viz as a static site, with previews: build_viz.py FOLDER [--env=ENV] [--params=...].

``kedro viz build`` knows no folder but ``build`` and no environment, and succeeds whatever
happens.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path


def main() -> None:
    """Build beside the folder, then put it in its place."""
    parser = argparse.ArgumentParser(description="Write Kedro-Viz as a static site.")
    parser.add_argument("folder", type=Path, help="where the site goes; replaced as a whole")
    parser.add_argument("--env", help="the environment whose data are previewed")
    parser.add_argument("--params", default="", help="settings: data_root=DIR,...")
    options = parser.parse_args()
    from kedro.framework.startup import bootstrap_project
    from kedro_viz.integrations.deployment.local_deployer import LocalDeployer
    from kedro_viz.server import load_and_populate_data

    from soundx.running.viz import guard_site

    final: Path = options.folder
    marker = Path("api", "deploy-viz-metadata")
    if final.exists() and not (final / marker).is_file():
        sys.exit(f"{final} is there and is not a site of Kedro-Viz: it stays as it is.")
    project = bootstrap_project(Path.cwd())
    load_and_populate_data(
        project.project_path,
        env=options.env,
        include_hooks=True,
        package_name=project.package_name,
        extra_params=dict(pair.split("=", 1) for pair in filter(None, options.params.split(","))),
    )
    partial = final.with_name(f".{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    deployer = LocalDeployer()
    deployer._path = partial
    deployer.deploy(is_all_previews_enabled=True)
    guard_site(partial)
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)
    print(f"Written to {final}. To see it: python -m http.server --bind 127.0.0.1 -d {final}")


if __name__ == "__main__":
    main()
