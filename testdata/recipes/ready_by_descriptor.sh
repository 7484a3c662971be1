#!/usr/bin/env bash
# Starts a listener in the background, and goes on once it is ready: --ready-fd writes a line to an open file, here a named pipe.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
cd "$(mktemp -d)"
trap 'kill %1 2> /dev/null || :; wait; rm -r "$PWD"' EXIT
mkfifo up
phx listen room:news -c 1 -o payload --max-time "$WAIT" --ready-fd 3 3> up > got &
read -r -t "$WAIT" _ < up # fails if the listener ends before it is ready
phx push room:news broadcast '{"n":1}' --max-time "$WAIT" > /dev/null
wait $!
cat got
# Output:
# {"n":1}
