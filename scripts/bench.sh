#!/usr/bin/env bash
# Measures the media plane against what it must cost, in one process, and prints the ratios. Arguments go to cargo bench.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

"$ROOT/scripts/install.sh" --for bench
cd "$ROOT"
# By name: cargo would also run the tests of the library, which know none of our flags.
exec cargo bench --locked --package freshet --bench media "$@"
