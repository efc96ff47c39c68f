#!/usr/bin/env bash
# Licences, sources, checksums and advisories of all dependencies, as far as they can be checked
# without a network: deny.toml says what is allowed. Where cargo-deny is installed and has a copy of
# the RustSec database, that is asked too.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

# The workspace and the fuzz crate, which is a workspace of its own.
for folder in . relay-proto/fuzz; do
    [[ -f $folder/Cargo.toml ]] || die "$folder/Cargo.toml is missing"
    # Asked first and by itself, so that a lock file that lags behind is named as such.
    metadata=$(cargo metadata --locked --format-version 1 --manifest-path "$folder/Cargo.toml") ||
        die "$folder/Cargo.lock does not fit its Cargo.toml: build once without --locked and commit it"
    python3 scripts/licences.py "$folder/Cargo.lock" <<<"$metadata"
done

databases=("${CARGO_HOME:-${HOME:-/nonexistent}/.cargo}"/advisory-db*/*)
if command -v cargo-deny >/dev/null && [[ -e ${databases[0]} ]]; then
    cargo deny --offline check licenses bans sources advisories
    echo "cargo-deny agrees, with the RustSec database of $(date -r "${databases[0]}" +%F)"
elif command -v cargo-deny >/dev/null; then
    cargo deny --offline check licenses bans sources
fi
