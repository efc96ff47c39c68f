#!/usr/bin/env bash
# Builds pages and program in release and starts `freshet dev`, which prints its URL.
# Arguments go to `freshet dev`: scripts/run.sh --nodes 3
set -euo pipefail
. "$(dirname "$0")/lib.sh"

"$ROOT/scripts/install.sh" --for run
(build_web)
cd "$ROOT"
cargo build --release --locked --package freshet --bin freshet
exec "$TARGET/release/freshet" dev "$@"
