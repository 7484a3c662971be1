#!/usr/bin/env bash
# Waits for an event, then does something with it. When none comes in time the exit code is 28, and nothing is done.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
build=$(phx listen room:lobby --event tick --until '.data.payload.n >= 2' --max-time "$WAIT" -q .data.payload.n | tail -n 1)
echo "deploying build $build"
# Output:
# deploying build ...
