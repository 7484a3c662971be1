#!/usr/bin/env bash
# Listens first, then triggers: the command of --on-ready runs once every topic is joined, so its effect is not missed.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
phx listen room:news -c 1 -o payload --max-time "$WAIT" \
  --on-ready "phx push room:news broadcast '{\"headline\":\"it works\"}' --max-time $WAIT > /dev/null"
# Output:
# {"headline":"it works"}
