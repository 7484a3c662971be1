#!/usr/bin/env bash
# A GraphQL subscription by Absinthe: the document is pushed after each join, and its data come on a topic that nobody joined.
# --on-ready runs a mutation here, so that there is something to see.
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
query='{"query":"subscription { posted { n } }"}'
mutation='{"query":"mutation { posted }","variables":{"n":7}}'
phx listen __absinthe__:control --any-topic --event subscription:data --on-join "doc $query" -c 1 --max-time "$WAIT" \
  -q .data.payload.result.data --on-ready "phx push __absinthe__:control doc '$mutation' --max-time $WAIT > /dev/null"
# Output:
# {"posted":{"n":7}}
