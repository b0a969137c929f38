#!/usr/bin/env bash
# See that Chromium is there for the browser tests; where apt-get and root can, install it.
set -euo pipefail

if [ ! -x /usr/bin/chromium ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
fi
if [ ! -x /usr/bin/chromium ]; then
  echo "The browser tests need Chromium: apt-get install chromium fonts-dejavu-core" >&2
  exit 1
fi
