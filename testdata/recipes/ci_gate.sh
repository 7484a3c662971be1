#!/usr/bin/env bash
# CI gate: after a deployment the socket, the channels and a push have to work, or the pipeline stops with the reason.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
gate() {
  "$@" > /dev/null && return
  code=$?
  echo "gate: closed with exit code $code by: $*" >&2 # phx has said why
  exit "$code"
}
gate phx connect --max-retries 5 --max-time "$WAIT" # the new release may still be starting
gate phx join room:lobby room:news --max-time "$WAIT"
gate phx push room:lobby echo '{"n":1}' --max-time "$WAIT" -q '.data.payload == {n:1}' -e
echo 'gate: open'
# Output:
# gate: open
