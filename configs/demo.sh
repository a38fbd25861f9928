#!/bin/sh
# What `make demo` runs once the programs are built: a switch with two guests, played by rspktgen, and as root also a NIC (a
# veth) in network namespaces made for it. The host's own namespace is not touched. Nothing stays behind, also when it is
# interrupted or fails.
#   BIN      where the programs are [target/release]
#   SECONDS_EACH  how long each kind of traffic runs [8]
set -eu
here=$(dirname "$0")
bin=${BIN:-$here/../target/release}
seconds=${SECONDS_EACH:-8}
dir=$(mktemp -d "${XDG_RUNTIME_DIR:-${TMPDIR:-/tmp}}/ringswitch-demo.XXXXXX")
switch_ns=rsdemo-switch-$$
far_ns=rsdemo-far-$$
is_root=
[ "$(id -u)" -ne 0 ] || is_root=yes
daemon= traffic= top=

end() { # PID: tells a process to stop, waits, and insists after five seconds
    [ -n "$1" ] || return 0
    kill "$1" 2>/dev/null || return 0
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        kill -0 "$1" 2>/dev/null || break
        sleep 0.5 2>/dev/null || sleep 1
        [ "$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null || true)" != Z ] || break
    done
    kill -KILL "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

cleanup() {
    status=$?
    trap '' INT TERM HUP
    trap - EXIT
    end "$top"
    end "$traffic"
    end "$daemon"
    if [ -n "$is_root" ]; then
        ip netns del "$far_ns" 2>/dev/null || true
        ip netns del "$switch_ns" 2>/dev/null || true
    fi
    rm -rf "$dir"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

fail() {
    echo "demo: $*" >&2
    exit 1
}

# Runs a program in a namespace when root, plainly otherwise; both replace the shell, so that $! is the program's process.
inside() {
    namespace=$1
    shift
    if [ -n "$is_root" ]; then exec ip netns exec "$namespace" "$@"; else exec "$@"; fi
}

rsctl() { "$bin/rsctl" --socket "$dir/ctl.sock" "$@"; }

# FILE SECTION KEY: a number of rspktgen's JSON, which has one key a line. SECTION is "" for the outermost.
number() {
    awk -v section="\"$2\": {" -v key="\"$3\":" -v any="$2" '
        any == "" || index($0, section) { inside = 1 }
        inside && $1 == key { gsub(/,/, "", $2); print $2; exit }' "$1"
}

# NAME NAMESPACE RSPKTGEN-ARGUMENTS...: traffic with live rates; the result goes to NAME.json.
send() {
    name=$1 namespace=$2
    shift 2
    echo
    echo "$name"
    (inside "$namespace" "$bin/rspktgen" "$@" --duration "$seconds" --latency --json) >"$dir/$name.json" 2>"$dir/$name.log" &
    traffic=$!
    rsctl top --count "$seconds" br0 &
    top=$!
    wait "$traffic" && status=0 || status=$?
    traffic=
    end "$top"
    top=
    if [ "$status" -ne 0 ]; then
        cat "$dir/$name.log" "$dir/daemon.log" >&2
        fail "$name: rspktgen ended with $status"
    fi
    results="$results$name
"
}

row() {
    file=$dir/$1.json
    awk -v name="$1" -v sent="$(number "$file" total tx_packets)" -v received="$(number "$file" total rx_packets)" \
        -v lost="$(number "$file" '' lost)" -v pps="$(number "$file" total rx_pps)" \
        -v p50="$(number "$file" latency_us p50)" -v p99="$(number "$file" latency_us p99)" \
        -v p999="$(number "$file" latency_us p99_9)" 'BEGIN {
            printf "%-22s %12d %12d %10d %8.3f %10.1f %10.1f %10.1f\n", name, sent, received, lost, pps / 1e6, p50, p99, p999 }'
}

for program in ringswitchd rsctl rspktgen; do
    [ -x "$bin/$program" ] || fail "$bin/$program is not there: run make build"
done
if [ -n "$is_root" ]; then
    ip netns add "$switch_ns"
    ip netns add "$far_ns"
    # Frames are counted: nothing is to come from the namespaces' own IPv6 (router solicitations, group reports).
    for namespace in "$switch_ns" "$far_ns"; do
        ip netns exec "$namespace" sh -c 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6' 2>/dev/null || true
    done
    ip -n "$switch_ns" link set lo up
    ip -n "$switch_ns" link add nic0 type veth peer name far0 netns "$far_ns"
    ip -n "$switch_ns" link set nic0 up
    ip -n "$far_ns" link set far0 up
    echo "A switch in a network namespace of its own: two guests (vhost-user), one NIC (AF_XDP on a veth)."
else
    echo "Not root: a switch with two guests (vhost-user), without a NIC."
fi

sed "s|/run/ringswitch|$dir|" "$here/demo.toml" >"$dir/demo.toml"
(inside "$switch_ns" "$bin/ringswitchd" --config "$dir/demo.toml" --socket "$dir/ctl.sock") 2>"$dir/daemon.log" &
daemon=$!
tries=0
until rsctl version >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -gt 100 ] || ! kill -0 "$daemon" 2>/dev/null; then
        cat "$dir/daemon.log" >&2
        fail "the switch does not start"
    fi
    sleep 0.1
done
[ -z "$is_root" ] || rsctl add-port br0 nic0 type=afxdp
rsctl show

# The switch polls on the last CPU; the generator takes the first one when there are two.
cpus=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status)
first=${cpus%%[,-]*}
[ "$first" = "$cpus" ] || cores="--cores $first"
vm1="$dir/vm1.sock,packed,mrg,queues=2,size=1024"
vm2="$dir/vm2.sock,packed,mrg,queues=2,size=1024"
results=
# shellcheck disable=SC2086 # cores is two words or none
{
    send "guest to guest" "$switch_ns" --guest "$vm1" --guest "$vm2" --bidir --window 256 ${cores:-}
    if [ -n "$is_root" ]; then
        send "guest to NIC" "$far_ns" --guest "$vm1" --netdev far0 --traffic '0->1' --window 128 ${cores:-}
        send "NIC to guest" "$far_ns" --guest "$vm1" --netdev far0 --traffic '1->0' --window 128 ${cores:-}
    fi
}

echo
echo "Frames of 64 bytes; latencies in microseconds, from sender to receiver."
printf '%-22s %12s %12s %10s %8s %10s %10s %10s\n' "" sent received lost Mpps p50 p99 p99.9
printf '%s' "$results" | while IFS= read -r name; do row "$name"; done
echo
echo "What the switch counted:"
rsctl dump-ports br0
