#!/usr/bin/env bash
# A probe by a file, as Kubernetes runs one: --ready-file is there from when everything is up and joined, until the end.
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
phx serve -f phx.yaml --ready-file ready --ready-fd 3 3> up &
read -r -t "$WAIT" _ < up
test -e ready && echo 'probe: ready'
kill %1
wait %1
test -e ready || echo 'probe: not ready'
# Output:
# probe: ready
# probe: not ready
