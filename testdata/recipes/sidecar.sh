#!/usr/bin/env bash
# A sidecar: serve keeps the socket, and other programs push and listen through it by phx ctl, or by curl at the same socket.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
cd "$(mktemp -d)"
trap 'kill %1 2> /dev/null || :; wait; rm -r "$PWD"' EXIT
export PHX_CONTROL=$PWD/phx.sock
cat > phx.yaml <<'END'
connections:
  app: {uri: "${PHX_URI}", auto_join_channels: [room:app]}
routes: [{to: discard}]
END
mkfifo up
phx serve -f phx.yaml --ready-fd 3 3> up &
read -r -t "$WAIT" _ < up
phx ctl listen --topic room:app --event broadcast -c 1 --max-time "$WAIT" -o payload \
  --on-ready "phx ctl push app room:app broadcast '{\"from\":\"a program\"}' --max-time $WAIT > /dev/null"
# Output:
# {"from":"a program"}
