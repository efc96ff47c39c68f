#!/usr/bin/env bash
# The event scenario on a Freshet of this machine's own: builds server and load harness in release, starts
# `freshet dev` on free ports of 127.0.0.1, lets an audience come, ends the server, and says where the report lies.
#
#   scripts/event.sh [--nodes N] [--max-sessions N] [--report FOLDER] [--bin FOLDER] [HARNESS ARGUMENTS]
#
#   --nodes N          nodes of the cluster, 1 to 8 [3]
#   --max-sessions N   sessions that a node takes, so that a stream has to cascade [120]
#   --report FOLDER    where report.html, report.json and summary.md go [target/event]
#   --bin FOLDER       take `freshet` and `freshet-loadtest` from there, and build nothing
#
# All else goes to `freshet-loadtest run loadtest/scenarios/event.toml`: --viewers 300, --duration 2m, --quiet.
# The exit status is the harness's: 0 if every bound of the scenario was kept, 1 if one broke, 2 if nothing was measured.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

nodes=3 sessions=120 report='' bin='' more=()
while (($#)); do
    case $1 in
    --nodes | --max-sessions | --report | --bin)
        (($# > 1)) || die "event.sh: $1 needs a value; see --help"
        case $1 in
        --nodes) nodes=$2 ;;
        --max-sessions) sessions=$2 ;;
        --report) report=$2 ;;
        --bin) bin=$2 ;;
        esac
        shift 2
        ;;
    -h | --help) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) more+=("$1"); shift ;;
    esac
done
report=${report:-$TARGET/event}
mkdir -p "$report"
report=$(cd "$report" && pwd)

if [[ -z $bin ]]; then
    "$ROOT/scripts/install.sh" --for run
    (build_web)
    (cd "$ROOT" && cargo build --release --locked --package freshet --package freshet-loadtest)
    bin=$TARGET/release
fi
for program in freshet freshet-loadtest; do
    [[ -x $bin/$program ]] || die "event.sh: $bin/$program is missing or no program"
done

# A server of an earlier call may still hold its ports: the first pair of free ones is ours.
free_port() {
    local port
    for port in $(shuf -i 20000-29000 -n 50); do
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo "$port"; return; fi
    done
    die "event.sh: fifty ports of 127.0.0.1 were tried, and something listens on each"
}
listen=127.0.0.1:$(free_port)
log=$report/server.log

"$bin/freshet" dev --nodes "$nodes" --max-sessions "$sessions" --listen "$listen" >"$log" 2>&1 &
server=$!
# Once more while it goes would be a kill: it is asked once, and has what it needs to say goodbye.
finish() {
    kill "$server" 2>/dev/null || return 0
    wait "$server" 2>/dev/null || true
}
trap finish EXIT

ready() {
    curl -fsS --max-time 2 -o /dev/null "http://$listen/readyz" 2>/dev/null && [[ $(metrics | wc -l) -eq $nodes ]]
}
# Each node says where it tells its metrics.
metrics() {
    sed -n 's|^  node-[0-9]* *\(http://[^ ]*/metrics\).*|\1|p' "$log"
}
for _ in $(seq 150); do
    ready && break
    kill -0 "$server" 2>/dev/null || { tail -n 20 "$log" >&2; die "event.sh: the server ended; all it said is in $log"; }
    sleep 0.2
done
ready || die "event.sh: the server is not ready after 30 s; what it said is in $log"

pages=()
for url in $(metrics); do pages+=(--server-metrics "$url"); done
echo "http://$listen: $nodes nodes, $sessions sessions each; its log is $log" >&2
status=0
TARGET=http://$listen "$bin/freshet-loadtest" run "$ROOT/loadtest/scenarios/event.toml" \
    --server-pid "$server" "${pages[@]}" --report "$report" "${more[@]}" || status=$?
if [[ -s $report/report.html ]]; then echo "the report: $report/report.html" >&2; fi
exit "$status"
