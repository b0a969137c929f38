"""A package index on loopback, with releases that the test makes: tiny, and as new as it likes."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NEWER = "9999"


def write_wheel(
    folder: Path, name: str, version: str, *, requires: Sequence[str] = (), extra: str = ""
) -> Path:
    """Write a wheel of an empty package.

    Args:
        folder: Where to.
        name: Of the package.
        version: Of the package.
        requires: What it asks for, as in ``Requires-Dist``.
        extra: An extra that it offers.
    """
    stem = f"{name.replace('-', '_')}-{version}"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Provides-Extra: {extra}"] * bool(extra)
    lines += [f"Requires-Dist: {wanted}" for wanted in requires]
    files = {
        "METADATA": "\n".join(lines) + "\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files["RECORD"] = "".join(f"{stem}.dist-info/{file},,\n" for file in (*files, "RECORD"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, content in files.items():
            wheel.writestr(f"{stem}.dist-info/{file}", content)
    return path


@dataclass
class Index:
    """A folder of wheels that is served as a package index.

    Attributes:
        folder: A folder for each package.
        address: Of the index, for pip and uv.
        fetched: Names of the wheels that were fetched from it, as often as they were.
    """

    folder: Path
    address: str = ""
    fetched: list[str] = field(default_factory=list)

    def add(self, name: str, version: str, **options: str | Sequence[str]) -> str:
        """Offer a release; return its lines of a lock."""
        folder = self.folder / name
        wheel = write_wheel(folder, name, version, **options)  # type: ignore[arg-type]
        links = (f'<a href="{path.name}">{path.name}</a>' for path in folder.glob("*.whl"))
        (folder / "index.html").write_text("<!DOCTYPE html>\n" + "\n".join(links))
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        return f"{name}=={version} \\\n    --hash=sha256:{digest}\n"


@contextmanager
def served(folder: Path) -> Iterator[Index]:
    """Serve an index on loopback."""
    folder.mkdir(parents=True, exist_ok=True)
    index = Index(folder)

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            if self.path.endswith(".whl") and self.command == "GET":
                index.fetched.append(Path(self.path).name)

    handler = partial(Handler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        index.address = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield index
        server.shutdown()
