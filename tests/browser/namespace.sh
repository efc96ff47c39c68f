#!/usr/bin/env bash
# Runs a command in a network namespace of its own, which goes with it. 10.77.0.1 is there and reaches nothing else:
# Firefox gathers no candidates on loopback.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
if [[ ${1:-} != --inside ]]; then
    # Who is not root becomes it inside of the namespace alone.
    ((EUID)) && map=(--map-root-user) || map=()
    exec unshare --net "${map[@]}" bash "$0" --inside "$@"
fi
shift
ip link set lo up
ip link add here type veth peer name there
ip address add 10.77.0.1/24 dev here
ip link set there up
ip link set here up
exec "$@"
