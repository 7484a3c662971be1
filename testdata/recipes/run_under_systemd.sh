#!/usr/bin/env bash
# Installs phx serve as a service, with the unit of the repository, and starts it. With DESTDIR it is only put there, for a package.
#
#   PHX_CONFIG=my.yaml run_under_systemd.sh
set -euo pipefail
WAIT=${WAIT:-30} # seconds, for each step
here=$(cd "$(dirname "$0")" && pwd)
phx config validate -f "${PHX_CONFIG:?the config file to install}" > /dev/null
install -D -m 755 "$(command -v phx)" "${DESTDIR-}/usr/local/bin/phx"
install -D -m 644 "$here/../../deploy/phx.service" "${DESTDIR-}/etc/systemd/system/phx.service"
install -D -m 644 "$PHX_CONFIG" "${DESTDIR-}/etc/phx/phx.yaml"
if [ -z "${DESTDIR-}" ]; then
  systemctl daemon-reload
  systemctl enable phx
  timeout "$WAIT" systemctl restart phx # the service is ready once every required connection is up and joined
  systemctl status --no-pager phx
fi
echo 'installed'
# Output:
# installed
