from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from soundx.errors import SoundxError
from soundx.storage.folder import Folder
from soundx.storage.lock import NAME, VOID_S, take_lock
from tests.conftest import every_byte

HOLDER = """
import sys
from soundx.storage.folder import Folder
from soundx.storage.lock import take_lock
take_lock(Folder(sys.argv[1]), "kedro run --pipelines=training")
print("taken", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    url = str(tmp_path / "f") if request.param == "local" else f"memory://f-{tmp_path.name}"
    return Folder(url)


def test_one_at_a_time_and_again_when_it_is_given_back(folder):
    give_back = take_lock(folder, "one")
    with pytest.raises(SoundxError, match=rf"at work on .*\(one, process {os.getpid()} of "):
        take_lock(folder, "two")
    give_back()
    again = take_lock(folder, "three")
    give_back()  # once more does no harm to whoever has it now
    with pytest.raises(SoundxError, match="three"):
        take_lock(folder, "four")
    again()
    assert folder.names() == []


def test_threads_of_one_process_exclude_each_other(folder):
    told, held = [], []
    together = threading.Barrier(8)

    def take():
        together.wait()
        try:
            held.append(take_lock(folder, "a thread"))
        except SoundxError as error:
            told.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(told)) == (1, 7)
    held[0]()


def test_another_process_is_told_who_it_is_and_a_killed_one_has_nothing(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "taken\n"
    with pytest.raises(SoundxError) as caught:
        take_lock(Folder(str(tmp_path)), "mine")
    assert f"(kedro run --pipelines=training, process {holder.pid} of " in str(caught.value)
    assert "\n" not in str(caught.value)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    take_lock(Folder(str(tmp_path)), "mine")()


@pytest.mark.parametrize(
    ("beat_ago_s", "host", "is_held"),
    [(1.0, "elsewhere", True), (VOID_S + 1, "elsewhere", False), (1.0, None, False)],
    ids=["at work elsewhere", "gone silent", "gone here"],
)
def test_a_lock_in_a_bucket_is_void_when_its_owner_is(tmp_path, beat_ago_s, host, is_held):
    folder = Folder(f"memory://lock-{tmp_path.name}")
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], check=True,
                          capture_output=True)  # fmt: skip
    give_back = take_lock(folder, "x")
    facts = json.loads(folder.read(NAME))
    give_back()
    facts |= {"pid": int(gone.stdout), "host": host or facts["host"]}
    folder.write(NAME, json.dumps({**facts, "beat": time.time() - beat_ago_s}).encode())
    if is_held:
        with pytest.raises(SoundxError, match="on elsewhere, since"):
            take_lock(folder, "mine")
    else:
        take_lock(folder, "mine")()


def test_where_nothing_can_be_written_none_is_taken(tmp_path):
    (tmp_path / "file").write_text("a file")
    before = every_byte(tmp_path)
    take_lock(Folder(str(tmp_path / "file")), "mine")()
    assert every_byte(tmp_path) == before
