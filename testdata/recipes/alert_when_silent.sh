#!/usr/bin/env bash
# Alerts when a channel that should talk is silent: exit code 28 says that no message came in time.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
if phx listen room:lobby --event tick -c 1 --max-time "$WAIT" > /dev/null; then
  echo 'alive'
else
  code=$?
  echo "alert: no tick of room:lobby (exit code $code)" >&2
  exit "$code"
fi
# Output:
# alive
