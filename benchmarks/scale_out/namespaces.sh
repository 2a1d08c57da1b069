#!/usr/bin/env bash
# Several hosts on one machine: the scheduler, the flow with its Prefect server, and each worker in a network
# namespace of its own, joined by a bridge. No two of them share a loopback, as on real machines. Runs the benchmark
# and makes a real small gallery there, which must have the bytes of a local one.
#
#   sudo benchmarks/scale_out/namespaces.sh [options of python -m benchmarks.scale_out]
#   HOSTS=4 DELAY=5ms ...     number of worker hosts (default 3); delay of every host's network (default none)
#
# Needs root and iproute2. Everything is removed at the end; names begin with avih-.
set -euo pipefail
cd "$(dirname "$0")/../.."

HOSTS=${HOSTS:-3}
DELAY=${DELAY:-}
PYTHON=${PYTHON:-$PWD/.venv/bin/python}
TAG=avih-$$
NET=10.83.$((RANDOM % 200 + 10))
BRIDGE=avb$(($$ % 100000))
FOLDER=

fail() {
    echo "namespaces.sh: $*" >&2
    exit 2
}

[ "$(id -u)" = 0 ] || fail "expected root (network namespaces and bridges need it), got user $(id -un). Use sudo."
command -v ip > /dev/null || fail "expected the command ip, got none. Install iproute2."
[ -x "$PYTHON" ] || fail "expected Python at $PYTHON, got none. Run make setup, or set PYTHON."

SERVER=
cleanup() {
    set +e
    [ -n "$SERVER" ] && kill "$SERVER" 2> /dev/null && wait "$SERVER" 2> /dev/null
    ip netns list | awk '{print $1}' | grep "^$TAG-" | while read -r name; do ip netns delete "$name"; done
    ip link delete "$BRIDGE" 2> /dev/null
    [ -n "$FOLDER" ] && rm -rf "$FOLDER"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

if ! ip netns add "$TAG-probe" 2> /dev/null; then
    fail "this root may not make network namespaces (a container without CAP_SYS_ADMIN?); run it on a real machine"
fi
ip netns delete "$TAG-probe"
ip link add "$BRIDGE" type bridge 2> /dev/null || fail "this root may not make a bridge (CAP_NET_ADMIN is missing)"
ip link set "$BRIDGE" up

# host NAME NUMBER: a namespace whose only way out is the bridge
host() {
    local name=$TAG-$1 end=avv$(($$ % 10000))-$2
    ip netns add "$name"
    ip link add "$end" type veth peer name eth0 netns "$name"
    ip link set "$end" master "$BRIDGE" up
    ip -n "$name" address add "$NET.$2/24" dev eth0
    ip -n "$name" link set eth0 up
    ip -n "$name" link set lo up
    if [ -n "$DELAY" ]; then
        ip netns exec "$name" tc qdisc add dev eth0 root netem delay "$DELAY" || fail "no delay possible: no netem here"
    fi
}

host scheduler 1
host flow 2
machines=()
for number in $(seq "$HOSTS"); do
    host "worker$number" "$((10 + number))"
    machines+=(--machine "$NET.$((10 + number))=$TAG-worker$number")
done

# The workers tell this server how their tasks go; a temporary one would listen on the flow's own loopback.
FOLDER=$(mktemp -d)
export PREFECT_HOME=$FOLDER/prefect PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=true
export PREFECT_API_URL=http://$NET.2:4200/api
mkdir -p "$PREFECT_HOME"
ip netns exec "$TAG-flow" "$PYTHON" -m prefect server start --host "$NET.2" --port 4200 \
    > "$FOLDER/server.log" 2>&1 &
SERVER=$!
for _ in $(seq 300); do
    ip netns exec "$TAG-flow" "$PYTHON" -c \
        "import urllib.request as r; r.urlopen('$PREFECT_API_URL/health', timeout=2)" 2> /dev/null && break
    kill -0 "$SERVER" 2> /dev/null || { tail -5 "$FOLDER/server.log" >&2; fail "the Prefect server ended"; }
    sleep 0.5
done

status=0
ip netns exec "$TAG-flow" "$PYTHON" -m benchmarks.scale_out --scheduler "$NET.1=$TAG-scheduler" "${machines[@]}" \
    --workers "1,$HOSTS" --protect "$@" || status=$?
exit "$status"
