#!/usr/bin/env bash
# Pushes a file as one binary payload. A binary reply is base64 in the signal.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
head -c 300 /dev/zero | phx push room:lobby echo --binary --max-time "$WAIT" -q '.data.payload_base64 | @base64d | length'
# Output:
# 300
