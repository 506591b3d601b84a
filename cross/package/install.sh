#!/bin/sh
# Installs Tapline from this directory on a board with systemd, or removes it. As root.
#
# usage: ./install.sh
#        ./install.sh --remove     the configuration and /var/lib/tapline stay
set -eu
cd "$(dirname "$0")"
[ "$(id -u)" = 0 ] || { echo 'install.sh: only root can install it' >&2; exit 1; }

if [ "${1:-}" = --remove ]; then
  systemctl disable --now tapline.service tapline.socket || true
  find usr ! -type d | while read -r file; do rm -f "/$file"; done
  rmdir --ignore-fail-on-non-empty /usr/share/doc/tapline/examples /usr/share/doc/tapline /usr/share/tapline/boards \
    /usr/share/tapline /usr/lib/tapline
  systemctl daemon-reload
  exit
fi

find usr ! -type d | while read -r file; do
  mkdir -p "/$(dirname "$file")"
  # In one step, also over a binary that runs.
  cp "$file" "/$file.new"
  mv "/$file.new" "/$file"
done
systemd-sysusers tapline.conf
systemd-tmpfiles --create tapline.conf
udevadm control --reload
udevadm trigger --action=change --subsystem-match=gpio --subsystem-match=pwm --subsystem-match=leds --settle
mkdir -p /etc/tapline
[ -e /etc/tapline/tapline.yaml ] || /usr/lib/tapline/write-configuration /etc/tapline/tapline.yaml
# As the service would at its first start, but where whoever installs it sees the password.
/usr/lib/tapline/first-start
tapline check -c /etc/tapline/tapline.yaml
systemctl daemon-reload
systemctl enable tapline.service
systemctl restart tapline.service
