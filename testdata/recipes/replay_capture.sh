#!/usr/bin/env bash
# Captures what a channel says, and pushes it back: each message to its own topic and event. sed turns ticks into what may be pushed.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
cd "$(mktemp -d)"
trap 'rm -r "$PWD"' EXIT
phx listen room:lobby -c 3 --max-time "$WAIT" > captured
sed 's/"phoenix_event":"tick"/"phoenix_event":"echo"/' captured |
  phx push --envelope --max-time "$WAIT" -q '[.data.topic, .data.event, .data.status]'
# Output:
# ["room:lobby","echo","ok"]
# ["room:lobby","echo","ok"]
# ["room:lobby","echo","ok"]
