#!/usr/bin/env bash
# Forwards messages to a webhook as CloudEvents, signed and retried. What is queued at the end is delivered before serve exits.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
: "${WEBHOOK_URL:?the URL to post to}"
cd "$(mktemp -d)"
trap 'kill %1 2> /dev/null || :; wait; rm -r "$PWD"' EXIT
export PHX_CONTROL=$PWD/phx.sock
echo c2VjcmV0 > hook.key
cat > phx.yaml <<'END'
connections:
  news: {uri: "${PHX_URI}", auto_join_channels: [room:news]}
sinks:
  hook: {webhook: {url: "${WEBHOOK_URL}", secret: {file: hook.key}}}
routes:
  - {match: "phoenix.news.**", event: broadcast, to: hook}
END
mkfifo up
phx serve -f phx.yaml --ready-fd 3 3> up &
read -r -t "$WAIT" _ < up
phx ctl push news room:news broadcast '{"headline":"it works"}' --max-time "$WAIT" -q .data.status -r
kill %1
wait %1
# Output:
# ok
