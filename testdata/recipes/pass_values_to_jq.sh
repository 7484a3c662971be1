#!/usr/bin/env bash
# Uses values of the script in expressions: --arg and --argjson make them variables, so that no quoting can go wrong.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
name='it"s $me'
phx push room:lobby echo '{"n":5}' --max-time "$WAIT" --arg name "$name" --argjson least 3 \
  -q '{name: $name, enough: (.data.payload.n >= $least)}'
# Output:
# {"enough":true,"name":"it\"s $me"}
