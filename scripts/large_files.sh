#!/usr/bin/env bash
# Refuse files of more than 1 MiB: data and models stay out of git.  usage: large_files.sh FILE...
set -euo pipefail
large=$(find "$@" -maxdepth 0 -type f -size +1048576c)
if [ -n "$large" ]; then
  echo "More than 1 MiB, data and models stay out of git:" >&2
  echo "$large" >&2
  exit 1
fi
