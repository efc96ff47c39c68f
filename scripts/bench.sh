#!/usr/bin/env bash
# Measures our egress against the floor in one process and prints the ratio. Arguments go to cargo bench.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

"$ROOT/scripts/install.sh" --for bench
cd "$ROOT"
# By name: cargo would also run the tests of the library, which know none of our flags.
exec cargo bench --locked --package freshet --bench egress "$@"
