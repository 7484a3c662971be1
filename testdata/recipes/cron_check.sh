#!/usr/bin/env bash
# Cron check: silent while the channel answers; otherwise cron mails what went wrong.
#
#   */5 * * * *  PHX_URI=wss://example.com/socket /usr/local/bin/cron_check.sh
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
phx push room:lobby echo '{"ping":1}' --max-time "$WAIT" -q '.data.payload.ping == 1' -e > /dev/null
