"""Time the sync of 2,000 objects of 100 KiB beside ``aws s3 sync``, on one server in one run.

Both are whole processes, started in turn: into an empty folder (first), and again with
nothing changed (again). What is compared is ``soundx.clips.mirror`` as ``kedro run`` uses it, with
Kedro's own start left out of both columns and reported apart.

    python benchmarks/s3_sync.py [--objects 2000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from s3_server import S3Server  # noqa: E402

AWS_VENV = ROOT / "build" / "venv-awscli"
SYNC = (
    "import sys; from pathlib import Path; from soundx.clips.mirror import mirror; "
    "from soundx.clips.bucket import S3Source; "
    "print(mirror(S3Source(sys.argv[1]), Path(sys.argv[2])))"
)


def seconds(command: list[str]) -> float:
    """Run a command to its end and return how long it took."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Fill a bucket, time both clients in turn, print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=2000)
    parser.add_argument("--kib", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if not (AWS_VENV / "bin" / "aws").exists():
        print("Installing awscli into build/venv-awscli (once) ...")
        subprocess.run([sys.executable, "-m", "venv", str(AWS_VENV)], check=True)
        subprocess.run([str(AWS_VENV / "bin/pip"), "install", "-qq", "awscli"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        server = S3Server(Path(folder) / "server")
        server.start()
        try:
            os.environ.update(server.variables)
            results = compare(Path(folder), options)
        finally:
            server.stop()
    out = ROOT / "benchmarks" / "results_s3.json"
    out.write_text(json.dumps(results, indent=2) + "\n")


def compare(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Return medians by client and case, in seconds, and their ratios."""
    import boto3

    client = boto3.client("s3")
    client.create_bucket(Bucket="bench-bucket")
    body = os.urandom(options.kib * 1024)

    def put(number: int) -> None:
        content = body[number % 997 :] + body[: number % 997]
        client.put_object(Bucket="bench-bucket", Key=f"L{number % 20}/{number}.wav", Body=content)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(options.objects)))
    url = "s3://bench-bucket"
    commands = {
        "soundx": [sys.executable, "-c", SYNC, url],
        "aws s3 sync": [str(AWS_VENV / "bin/aws"), "s3", "sync", "--delete", "--quiet", url],
    }
    times: dict[tuple[str, str], list[float]] = {}
    for number in range(options.rounds):
        for name, command in commands.items():
            target = folder / f"{number}-{name.split()[0]}"
            for case in ("first", "again"):
                took = seconds([*command, str(target)])
                times.setdefault((name, case), []).append(took)
                print(f"round {number + 1}  {name:<12} {case:<6} {took:6.2f} s", flush=True)
            shutil.rmtree(target)
    medians = {f"{name}, {case}": statistics.median(t) for (name, case), t in times.items()}
    ratios = {}
    for case in ("first", "again"):
        pairs = zip(times["aws s3 sync", case], times["soundx", case], strict=True)
        ratios[case] = statistics.median(aws / ours for aws, ours in pairs)
        print(f"{case}: aws s3 sync takes {ratios[case]:.2f} times as long as soundx")
    start = seconds([sys.executable, "-m", "kedro", "registry", "list"])
    print(f"(Kedro's own start: {start:.1f} s)")
    return {
        "objects": options.objects,
        "kib": options.kib,
        "rounds": options.rounds,
        "median_s": medians,
        "ratio_aws_to_soundx": ratios,
        "kedro_start_s": start,
    }


if __name__ == "__main__":
    main()
