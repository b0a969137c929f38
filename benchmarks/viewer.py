"""Time every page of the viewer on a manifest of 100,000 synthesised rows.

python benchmarks/viewer.py [--rows 100000]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("home", "dataset", "evaluation", "model")
PAGE = """
from pathlib import Path
from soundx.viewer import {name}
from soundx.viewer.project import Project
{name}.page(Project(Path.cwd(), None))
"""


def make_project(root: Path, n_rows: int) -> None:
    """Run the demo, then let its manifest name many more clips."""
    for env in ("base", "demo"):
        (root / "conf").mkdir(exist_ok=True)
        (root / "conf" / env).symlink_to(ROOT / "conf" / env)
    (root / "conf/local").mkdir()
    (root / "conf/local/globals.yml").write_text(f"data_root: {root}/data\n")
    params = f"--params=data_root={root}/data,embedder=logmel"
    command = [sys.executable, "-m", "kedro", "run", "--env=demo", params]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    path = root / "data/02_intermediate/clip_manifest.parquet"
    splits = root / "data/05_model_input/splits.parquet"
    manifest, sides = pd.read_parquet(path), pd.read_parquet(splits)
    times = n_rows // len(manifest) + 1
    many = pd.concat([manifest] * times, ignore_index=True).head(n_rows)
    new = np.arange(n_rows) >= len(manifest)
    ids = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(n_rows)]
    many["clip_id"] = np.where(new, ids, many["clip_id"])
    many.to_parquet(path)
    side_of = pd.concat([sides] * times, ignore_index=True).head(n_rows)
    side_of.assign(clip_id=many["clip_id"]).to_parquet(splits)


def main() -> None:
    """Print seconds of every page, the first time and again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    options = parser.parse_args()
    from streamlit.testing.v1 import AppTest

    results = {}
    with tempfile.TemporaryDirectory(prefix="soundx-bench-") as folder:
        make_project(Path(folder), options.rows)
        os.chdir(folder)
        import librosa
        import plotly.express  # noqa: F401

        # as the app does in a thread when it starts
        librosa.feature.melspectrogram(y=np.zeros(2048, np.float32), sr=16_000)
        for name in PAGES:
            page = AppTest.from_string(PAGE.format(name=name), default_timeout=60)
            seconds = []
            for _ in range(2):
                begin = time.perf_counter()
                page.run()
                seconds.append(time.perf_counter() - begin)
                assert not page.exception
            results[name] = dict(zip(("first", "again"), seconds, strict=True))
            print(f"{name:<12} first {seconds[0]:5.2f} s   again {seconds[1]:5.2f} s", flush=True)
        os.chdir(ROOT)
    out = ROOT / "benchmarks" / "results_viewer.json"
    out.write_text(json.dumps({"rows": options.rows, "seconds": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
