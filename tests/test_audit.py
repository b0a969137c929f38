"""What `make lint` says of dangerous packages: scripts/audit.py."""

from __future__ import annotations

import tomllib

import pytest

from scripts import audit
from tests.conftest import ROOT

KNOWN = tomllib.loads((ROOT / "scripts/known_bad.toml").read_text())


def told(name, version, licence="MIT", locked=None):
    return list(
        audit.complaints(
            name,
            version,
            licence,
            locked={name.lower(): {version}} if locked is None else locked,
            known_bad=KNOWN["advisories"],
            reviewed=KNOWN["licences"],
        )
    )


@pytest.mark.parametrize(
    ("name", "version", "advisory"),
    [
        ("PyYAML", "5.3.1", "CVE-2020-14343"),
        ("pyarrow", "14.0.0", "CVE-2023-47248"),
        ("keras", "3.8.0", "CVE-2025-1550"),
        ("starlette", "0.49.0", "CVE-2025-62727"),
    ],
)
def test_a_version_known_to_be_bad_is_named_with_its_advisory(name, version, advisory):
    assert advisory in "\n".join(told(name, version))


def test_what_is_locked_licensed_and_not_known_to_be_bad_passes():
    assert told("pyyaml", "6.0.2") == []
    assert told("text-unidecode", "1.3", licence="") == []


def test_what_is_not_locked_or_names_no_licence_is_told():
    assert "not what requirements.lock names" in told("numpy", "2.4.0", locked={})[0]
    assert "no licence" in told("unheard-of", "1.0", licence="")[0]


def test_of_no_locked_package_a_bad_version_is_locked():
    locked = audit.locked_versions((ROOT / "requirements.lock").read_text())
    assert len(locked) > 100
    bad = [
        line
        for name, versions in locked.items()
        for version in versions
        for line in told(name, version, locked=locked)
        if "is covered by" in line
    ]
    assert bad == []
