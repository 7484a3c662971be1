#!/usr/bin/env bash
# Triggers a job and waits until it is done. --until counts what comes before the reply, too: there is no race.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
phx push room:jobs broadcast '{"job":7,"state":"done"}' --max-time "$WAIT" \
  --until '.data.payload.job? == 7 and .data.payload.state == "done"' \
  -q 'select(.data.payload.job?) | "job \(.data.payload.job) is \(.data.payload.state)"' -r
# Output:
# job 7 is done
