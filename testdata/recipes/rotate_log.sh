#!/usr/bin/env bash
# Rotates the file of a sink, as logrotate does: move it, then HUP. No record is lost, and none is cut.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
cd "$(mktemp -d)"
trap 'kill %1 2> /dev/null || :; wait; rm -r "$PWD"' EXIT
export PHX_CONTROL=$PWD/phx.sock
cat > phx.yaml <<'END'
connections:
  app: {uri: "${PHX_URI}", auto_join_channels: [room:app]}
sinks:
  log: {file: {path: log.ndjson}, format: payload}
routes: [{match: "phoenix.app.**", event: broadcast, to: log}]
END
mkfifo up
phx serve -f phx.yaml --ready-fd 3 3> up &
read -r -t "$WAIT" _ < up
phx ctl push app room:app broadcast '{"n":1}' --max-time "$WAIT" > /dev/null
mv log.ndjson log.ndjson.1
kill -HUP %1
phx ctl push app room:app broadcast '{"n":2}' --max-time "$WAIT" > /dev/null
kill %1
wait %1 # what is queued is written
sort log.ndjson*
# Output:
# {"n":1}
# {"n":2}
