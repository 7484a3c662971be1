#!/usr/bin/env bash
# Counts as ready only after a signal that the server sends behind the joins, such as a snapshot; here the first tick.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
phx listen room:lobby --event broadcast -c 1 -o payload --max-time "$WAIT" --ready-when '.metadata.phoenix_event == "tick"' \
  --on-ready "phx push room:lobby broadcast '{\"after\":\"the first tick\"}' --max-time $WAIT > /dev/null"
# Output:
# {"after":"the first tick"}
