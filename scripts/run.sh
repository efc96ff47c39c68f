#!/usr/bin/env bash
# Builds pages and program in release and starts `freshet dev`, which prints its URL.
# Arguments go to `freshet dev`: scripts/run.sh --nodes 3
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Known before minutes of building, where the default address is taken.
own=${FRESHET_LISTEN:-}${FRESHET_CONFIG:-}
if [[ -z $own && ! " $*" =~ \ -(-listen|-config|-help|h) ]] && (exec 3<>/dev/tcp/127.0.0.1/8080) 2>/dev/null; then
    die "something listens on 127.0.0.1:8080 already: stop it, or choose another: make run ARGS=\"--listen 127.0.0.1:8090\""
fi
"$ROOT/scripts/install.sh" --for run
(build_web)
cd "$ROOT"
cargo build --release --locked --package freshet --bin freshet
exec "$TARGET/release/freshet" dev "$@"
