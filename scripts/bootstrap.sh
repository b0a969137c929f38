#!/usr/bin/env bash
# Make a virtual environment and install exactly what requirements.lock names, hashes checked.
# Uses uv where it is installed, else python3 -m venv and pip.  usage: bootstrap.sh VENV
set -euo pipefail
venv=$1

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

echo "Setting up $venv with $("$python" --version) (once; some minutes) ..."
with_uv() {
  uv venv --quiet --allow-existing --python "$(command -v "$python")" "$venv" &&
    uv pip install --quiet --python "$venv/bin/python" --require-hashes -r requirements.lock &&
    uv pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation -e .
}

with_pip() {
  "$python" -m venv "$venv"
  local pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet)
  "${pip[@]}" install --require-hashes -r requirements.lock
  "${pip[@]}" install --no-deps --no-build-isolation -e .
}

if command -v uv >/dev/null; then
  # uv does not read pip's configuration: where only pip knows the index, pip goes on
  with_uv || { echo "uv could not install; pip tries." >&2; with_pip; }
else
  with_pip
fi

# librosa compiles functions when it is first used: here, rather than while a page waits
"$venv/bin/python" -c 'import librosa, numpy; librosa.feature.melspectrogram(y=numpy.zeros(2048))'
