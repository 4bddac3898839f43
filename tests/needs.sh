#!/bin/sh
# The programs that the tests drive and that nobody here wrote. Installs what is missing where it may;
# where it may not, it says so, and the tests that need them fail by name.
set -u
missing=
for pair in chromium:chromium firefox-esr:firefox-esr mpv:mpv ffmpeg:ffmpeg espeak-ng:espeak-ng \
  pulseaudio:pulseaudio pactl:pulseaudio-utils faketime:faketime ip:iproute2 node:nodejs \
  nft:nftables ping:iputils-ping janus:janus turnserver:coturn certutil:libnss3-tools \
  curl:curl openssl:openssl haproxy:haproxy pebble:pebble; do
  command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" -eq 0 ]; then
  as_root=
elif sudo -n true 2>/dev/null; then
  as_root="sudo -n"
else
  echo "Missing, and not installed for lack of rights:$missing. The tests that need them will fail. Run: sudo apt install$missing"
  exit 0
fi
echo "Installing for the tests:$missing"
$as_root apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
