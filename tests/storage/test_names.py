from __future__ import annotations

import hashlib

from soundx.storage.names import file_names


def test_plain_names_stay_and_no_two_files_are_one_on_any_disk():
    plain = ["general", "ANIMAL", "a b", "dog-2", "ähre", "x.y", "狗"]
    assert file_names(plain) == {name: name for name in plain}
    odd = [
        "A",
        "a",
        "é",
        "e\u0301",
        "ß",
        "SS",
        "x" * 250,
        "x" * 249,
        "con?",
        ".a",
        "a.",
        " a",
        "狗" * 80,
    ]
    named = file_names([*plain, *odd])
    assert len({name.casefold() for name in named.values()}) == len(plain) + len(odd)
    assert max(len(name.encode()) for name in named.values()) <= 110
    assert all("~" in named[name] for name in odd)


def test_a_name_that_looks_escaped_is_escaped_itself():
    hashed = hashlib.sha256(b"?").hexdigest()[:12]
    named = file_names(["?", f"_~{hashed}"])
    assert named["?"] == f"_~{hashed}"
    assert len(set(named.values())) == 2
