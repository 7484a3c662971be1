#!/usr/bin/env bash
# Pushes rows at a steady rate, each wrapped as {"row":...}. A row that is refused does not stop the rest.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
printf '%s\n' 'ada,1815' 'grace,1906' 'joe,1927' |
  phx push room:import echo --lines row --rate 50/s --keep-going --max-time "$WAIT" -q '.data.payload.row | split(",") | .[0]' -r
# Output:
# ada
# grace
# joe
