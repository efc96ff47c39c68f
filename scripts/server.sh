# A `freshet dev` of a script's own: source it after lib.sh, do not run it.
# shellcheck shell=bash disable=SC2034

# Sets `bin` to where `freshet` and `freshet-loadtest` lie: the folder that is named, or what is built in release now.
programs() {
    bin=$1
    if [[ -z $bin ]]; then
        "$ROOT/scripts/install.sh" --for run
        (build_web)
        (cd "$ROOT" && cargo build --release --locked --package freshet --package freshet-loadtest)
        bin=$TARGET/release
    fi
    local program
    for program in freshet freshet-loadtest; do
        [[ -x $bin/$program ]] || die "$bin/$program is missing or no program"
    done
}

# A server of an earlier call may still hold its ports: the first pair of free ones is ours.
free_port() {
    local port
    for port in $(shuf -i 20000-29000 -n 50); do
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo "$port"; return; fi
    done
    die "fifty ports of 127.0.0.1 were tried, and something listens on each"
}

# Each node says in the log where it tells its metrics.
metrics_of() {
    sed -n 's|^  node-[0-9]* *\(http://[^ ]*/metrics\).*|\1|p' "$1"
}

server=''
# Asked once more while it goes would be a kill: it is asked once, and has what it needs to say goodbye.
stop_server() {
    [[ -n $server ]] || return 0
    kill "$server" 2>/dev/null || return 0
    wait "$server" 2>/dev/null || true
    server=''
}

# start_server LOG NODES SESSIONS [FLAGS]: on free ports of 127.0.0.1, until the script ends or `stop_server`. Sets
# `listen` and `server`, its process, and `pages`: the harness's flags for the metrics of its nodes.
start_server() {
    local log=$1 nodes=$2 sessions=$3 url
    shift 3
    listen=127.0.0.1:$(free_port)
    "$bin/freshet" dev --nodes "$nodes" --max-sessions "$sessions" --listen "$listen" "$@" >"$log" 2>&1 &
    server=$!
    trap stop_server EXIT
    for _ in $(seq 150); do
        if curl -fsS --max-time 2 -o /dev/null "http://$listen/readyz" 2>/dev/null &&
            [[ $(metrics_of "$log" | wc -l) -eq $nodes ]]; then
            pages=()
            for url in $(metrics_of "$log"); do pages+=(--server-metrics "$url"); done
            return
        fi
        kill -0 "$server" 2>/dev/null || { tail -n 20 "$log" >&2; die "the server ended; all it said is in $log"; }
        sleep 0.2
    done
    die "the server is not ready after 30 s; what it said is in $log"
}
