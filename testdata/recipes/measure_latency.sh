#!/usr/bin/env bash
# Measures how long replies take, in milliseconds: one push at a time, sorted, and two percentiles.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
seq 100 | phx push room:lobby echo --lines n --max-time "$WAIT" -q .data.latency_ms | sort -n |
  awk '{ ms[NR] = $1 } END { print "pushes=" NR, "p50=" ms[int(NR * 0.50)], "p99=" ms[int(NR * 0.99)] }'
# Output:
# pushes=100 p50=... p99=...
