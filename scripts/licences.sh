#!/usr/bin/env bash
# Licences, sources, checksums and advisories of all dependencies, as far as they can be checked
# without a network: deny.toml says what is allowed. Where cargo-deny is installed and has a copy of
# the RustSec database, that is asked too.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

locks=(Cargo.lock)
[[ -f relay-proto/fuzz/Cargo.lock ]] && locks+=(relay-proto/fuzz/Cargo.lock)
# Asked first and by itself, so that a lock file that lags behind is named as such.
metadata=$(cargo metadata --locked --format-version 1)
python3 scripts/licences.py "${locks[@]}" <<<"$metadata"

databases=("${CARGO_HOME:-${HOME:-/nonexistent}/.cargo}"/advisory-db*/*)
if command -v cargo-deny >/dev/null && [[ -e ${databases[0]} ]]; then
    cargo deny --offline check licenses bans sources advisories
    echo "cargo-deny agrees, with the RustSec database of $(date -r "${databases[0]}" +%F)"
elif command -v cargo-deny >/dev/null; then
    cargo deny --offline check licenses bans sources
fi
