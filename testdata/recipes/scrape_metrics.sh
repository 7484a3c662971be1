#!/usr/bin/env bash
# Metrics of serve, as Prometheus scrapes them; /readyz and /healthz are beside them.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
cd "$(mktemp -d)"
trap 'kill %1 2> /dev/null || :; wait; rm -r "$PWD"' EXIT
export PHX_CONTROL=$PWD/phx.sock METRICS=${METRICS:-127.0.0.1:9464}
cat > phx.yaml <<'END'
connections:
  app: {uri: "${PHX_URI}", auto_join_channels: [room:app]}
routes: [{to: discard}]
http: {listen: "${METRICS}"}
END
mkfifo up
phx serve -f phx.yaml --ready-fd 3 3> up &
read -r -t "$WAIT" _ < up
curl --silent --show-error --fail --max-time "$WAIT" "http://$METRICS/readyz"
curl --silent --show-error --fail --max-time "$WAIT" "http://$METRICS/metrics" > metrics
grep '^phx_' metrics | head -n 1
# Output:
# ready
# phx_...
