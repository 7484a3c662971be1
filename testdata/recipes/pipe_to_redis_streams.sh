#!/usr/bin/env bash
# Takes signals to a stream of Redis: Redpanda Connect reads them from stdin, one a line. Without -c it goes on until it is stopped.
# Behind a pipe, delivered means that the pipe took it: what the program then loses, phx does not know.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
here=$(cd "$(dirname "$0")" && pwd)
phx listen room:lobby --event tick -c 3 --max-time "$WAIT" | rpk connect run "$here/pipe_to_redis_streams.yaml"
echo 'forwarded'
# Output:
# forwarded
