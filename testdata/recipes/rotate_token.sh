#!/usr/bin/env bash
# Rotates a token under a running serve: the file is read at the next dial, and restart makes that now. mv replaces it in one step.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
cd "$(mktemp -d)"
trap 'kill %1 2> /dev/null || :; wait; rm -r "$PWD"' EXIT
export PHX_CONTROL=$PWD/phx.sock
umask 077
echo first > token
cat > phx.yaml <<'END'
connections:
  backend: {uri: "${PHX_URI}", auth_token: {file: token}, auto_join_channels: [room:news]}
routes: [{to: discard}]
END
mkfifo up
phx serve -f phx.yaml --ready-fd 3 3> up &
read -r -t "$WAIT" _ < up
echo second > token.new
mv token.new token
phx ctl restart backend --max-time "$WAIT" > /dev/null
phx ctl status backend --wait joined --timeout "$WAIT" -q '[.status, .session]'
# Output:
# ["connected",2]
