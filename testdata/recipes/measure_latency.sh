#!/usr/bin/env bash
# Measures how long replies take, in microseconds: one push at a time, sorted, and two percentiles.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
seq 100 | phx push room:lobby echo --lines n --max-time "$WAIT" -q .data.latency_us | sort -n |
  awk '{ us[NR] = $1 } END { print "pushes=" NR, "p50=" us[int(NR * 0.50)], "p99=" us[int(NR * 0.99)] }'
# Output:
# pushes=100 p50=... p99=...
