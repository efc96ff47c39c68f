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
. "$(dirname "$0")/server.sh"

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

programs "$bin"
log=$report/server.log
start_server "$log" "$nodes" "$sessions"
echo "http://$listen: $nodes nodes, $sessions sessions each; its log is $log" >&2
status=0
TARGET=http://$listen "$bin/freshet-loadtest" run "$ROOT/loadtest/scenarios/event.toml" \
    --server-pid "$server" "${pages[@]}" --report "$report" "${more[@]}" || status=$?
if [[ -s $report/report.html ]]; then echo "the report: $report/report.html" >&2; fi
exit "$status"
