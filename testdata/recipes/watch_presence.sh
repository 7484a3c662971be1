#!/usr/bin/env bash
# Watches who is there. --presence keeps account of the presence messages, which --exclude-event leaves out.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
phx listen presence:lobby --join-params '{"user":"ada"}' --presence --exclude-event 'presence_*' -c 2 --max-time "$WAIT" \
  -q 'if .data.state then "here: \(.data.state | keys | join(", "))" else "\(.data.key) \(.type | split(".")[-1])" end' -r
# Output:
# ada join
# here: ada
