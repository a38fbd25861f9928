#!/bin/sh
# Installs the Debian packages named on the command line that are not there yet. Without root it names them and goes on:
# what needs them says so when it is skipped.
set -eu
missing=
for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
    echo "not root, so these Debian packages stay missing:$missing" >&2
    exit 0
fi
echo "installing:$missing" >&2
apt-get update -qq
# Services of the packages (ovs-vswitchd) are not wanted, only their programs.
policy=/usr/sbin/policy-rc.d
ours=
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    ours=$policy
fi
trap '[ -z "$ours" ] || rm -f "$ours"' EXIT
# shellcheck disable=SC2086 # a list of words
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2
