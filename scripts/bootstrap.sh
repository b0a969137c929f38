#!/usr/bin/env bash
# Make a virtual environment with exactly what a lock names, hashes checked, and, if there is
# one, the project itself (-e . or a wheel). With uv where it is installed, else with
# python3 -m venv and pip; UV= leaves uv aside, UV=/path/to/uv names one.
# usage: bootstrap.sh VENV LOCK [PROJECT]
set -euo pipefail
venv=$1
lock=$2
shift 2
uv=${UV-uv}

# The lock is whole, so nobody is asked for more. A resolver asks the index for what a pinned
# package wants with an extra, takes the newest, and refuses it for want of a hash; what has no
# wheel is built with the newest setuptools. Both would age.
exactly=(--no-deps --require-hashes --only-binary :all: -r "$lock")

fits() {
  "$1" -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info < (3, 14)))' 2>/dev/null
}

for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
  if command -v "$candidate" >/dev/null && fits "$candidate"; then
    python=$candidate
    break
  fi
done
if [ -z "${python:-}" ]; then
  echo "soundx needs Python 3.11, 3.12 or 3.13 (TensorFlow has no wheel for others)." >&2
  echo "Found: $(python3 --version 2>&1). Name another: make PYTHON=/path/to/python setup" >&2
  exit 1
fi

with_uv() {
  local here=(--quiet --python "$venv/bin/python")
  "$uv" venv --quiet --allow-existing --python "$(command -v "$python")" "$venv" &&
    "$uv" pip install "${here[@]}" "${exactly[@]}" &&
    { [ $# = 0 ] || "$uv" pip install "${here[@]}" --no-deps --no-build-isolation "$@"; } &&
    "$uv" pip check "${here[@]}"
}

with_pip() {
  local pip=("$venv/bin/python" -m pip --disable-pip-version-check)
  "$python" -m venv "$venv"
  "${pip[@]}" install --quiet "${exactly[@]}"
  [ $# = 0 ] || "${pip[@]}" install --quiet --no-deps --no-build-isolation "$@"
  "${pip[@]}" check
}

# what an older lock named would stay: another lock, another environment
if [ -e "$venv/pyvenv.cfg" ] && ! cmp -s "$lock" "$venv/installed.lock"; then
  rm -rf "$venv"
fi
echo "Setting up $venv with $("$python" --version) (once; some minutes) ..."
if [ -n "$uv" ] && command -v "$uv" >/dev/null; then
  # uv does not read pip's configuration: where only pip knows the index, pip goes on
  with_uv "$@" || { echo "uv could not install; pip tries." >&2; with_pip "$@"; }
else
  with_pip "$@"
fi
cp "$lock" "$venv/installed.lock"
