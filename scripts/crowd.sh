#!/usr/bin/env bash
# How many viewers one machine holds together with the server that serves them, and what a viewer costs the load harness:
# builds in release, starts `freshet dev` with one node on free ports of 127.0.0.1, lets a crowd watch a video of 32
# packets a second, then sound alone (50 a second), and measures a packet of a viewer beside a plain loop around str0m.
#
#   scripts/crowd.sh [--report FOLDER] [--bin FOLDER] [HARNESS ARGUMENTS]
#
#   --report FOLDER    where the reports go, in video/ and sound/ [target/crowd]
#   --bin FOLDER       take `freshet`, `freshet-loadtest` and examples/cost from there, and build nothing
#
#   --viewers N, --ramp N/s, --duration TIME   of each crowd [2000, 50/s, 30s]
#
# All else goes to `freshet-loadtest run`, as --quiet does.
# The exit status is 0 if both crowds lost less than 0.1 % and nobody failed, and the cost is within its bound.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/server.sh"

report='' bin='' viewers=2000 ramp=50/s duration=30s more=()
while (($#)); do
    case $1 in
    --report | --bin | --viewers | --ramp | --duration)
        (($# > 1)) || die "crowd.sh: $1 needs a value; see --help"
        case $1 in
        --report) report=$2 ;;
        --bin) bin=$2 ;;
        --viewers) viewers=$2 ;;
        --ramp) ramp=$2 ;;
        --duration) duration=$2 ;;
        esac
        shift 2
        ;;
    -h | --help) sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) more+=("$1"); shift ;;
    esac
done
report=${report:-$TARGET/crowd}
mkdir -p "$report"
report=$(cd "$report" && pwd)
given=$bin
programs "$bin"
if [[ -z $given ]]; then
    (cd "$ROOT" && cargo build --release --locked --package freshet-loadtest --example cost)
fi
# Two sockets for each of 2,000 viewers, and the server's.
ulimit -n 20000 2>/dev/null || true

status=0
crowd() {
    local name=$1
    shift
    mkdir -p "$report/$name"
    start_server "$report/$name/server.log" 1 3000 --address-limit off --identity-limit off
    echo "$name: http://$listen; the server's log is $report/$name/server.log" >&2
    "$bin/freshet-loadtest" run --whip "http://$listen/whip/crowd" --whep "http://$listen/whep/crowd" \
        --viewers "$viewers" --ramp "$ramp" --duration "$duration" --mode sampled --sample 100 \
        --fail-if 'failed>0' --fail-if 'loss>0.1%' --server-pid "$server" "${pages[@]}" \
        --report "$report/$name" "$@" "${more[@]}" || status=1
    stop_server
}
crowd video --bitrate 240k --no-audio
crowd sound --no-video
echo 'cost:' >&2
"$bin/examples/cost" || status=1
exit "$status"
