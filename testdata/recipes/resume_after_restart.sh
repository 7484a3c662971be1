#!/usr/bin/env bash
# Misses nothing over a restart: the second listener joins with the number of the last message that the first one wrote.
# The channel has to answer such a join with what follows; log:* is one that does.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
cd "$(mktemp -d)"
trap 'rm -r "$PWD"' EXIT
follow() {
  phx listen log:orders --resume since=.data.payload.n --resume-file cursors.json --max-time "$WAIT" -q .data.payload.n "$@"
}
follow -c 2 --on-ready "phx push log:orders append '{\"count\":2}' --max-time $WAIT > /dev/null"
phx push log:orders append '{"count":2}' --max-time "$WAIT" > /dev/null # nobody listens
follow -c 2
# Output:
# 1
# 2
# 3
# 4
