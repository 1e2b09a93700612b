#!/bin/bash
# Installs, quietly, what tests and measurements need of the system and what is missing of it.
set -euo pipefail
missing=()
for pair in redis-server:redis-server redis-cli:redis-tools stress-ng:stress-ng cc:gcc; do
  command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
# The system's own Python: the client library comes as a package for that one.
/usr/bin/python3 -c 'import redis' 2>/dev/null || missing+=(python3 python3-redis)
[ ${#missing[@]} -eq 0 ] && exit 0
root=()
[ "$(id -u)" -eq 0 ] || root=(sudo)
echo "installing ${missing[*]}"
log=$(mktemp)
if ! { "${root[@]}" apt-get update && DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  cat "$log" >&2
  echo "setup: could not install ${missing[*]}; install them by hand and try again" >&2
  exit 1
fi
rm -f "$log"
# Debian starts a server of its own; the tests start theirs.
if printf '%s\n' "${missing[@]}" | grep -qx redis-server; then
  "${root[@]}" service redis-server stop >/dev/null 2>&1 || true
fi
