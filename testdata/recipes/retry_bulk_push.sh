#!/usr/bin/env bash
# Pushes many rows, and those again that were not acknowledged: --failed keeps them as they were, and may name the input itself.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
cd "$(mktemp -d)"
trap 'rm -r "$PWD"' EXIT
seq 200 > todo
for attempt in 1 2 3; do
  [ -s todo ] || break
  phx push room:import echo --lines row --max-inflight 16 --max-retries 3 --max-time "$WAIT" --failed todo < todo > replies ||
    echo "attempt $attempt: exit code $?, $(wc -l < todo) rows are left" >&2
done
[ ! -s todo ]
echo 'all rows are in'
# Output:
# all rows are in
