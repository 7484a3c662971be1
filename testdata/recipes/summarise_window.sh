#!/usr/bin/env bash
# Looks at everything of a while at once: --slurp gives --jq one array.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
phx listen room:lobby --event tick -c 3 --max-time "$WAIT" --slurp -q 'map(.data.payload.n) | {messages: length, first: min, last: max}'
# Output:
# {"first":...,"last":...,"messages":3}
