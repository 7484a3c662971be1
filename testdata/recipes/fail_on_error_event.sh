#!/usr/bin/env bash
# Watches a channel for a while, and fails at the first message that must not come: it is printed, and the exit code is 1.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
phx listen room:lobby --fail-on '.metadata.phoenix_event == "error" or .data.payload.error? != null' --duration 2 --max-time "$WAIT" > /dev/null
echo 'no errors'
# Output:
# no errors
