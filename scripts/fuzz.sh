#!/usr/bin/env bash
# Fuzzes every target of relay-proto for a while each; a crash fails and leaves its input behind.
#
#   scripts/fuzz.sh [--seconds 60] [TARGET…]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

seconds=60
if [[ ${1:-} == --seconds ]]; then
    seconds=${2:?--seconds wants a number}
    shift 2
fi
"$ROOT/scripts/install.sh" --for fuzz
[[ -f $ROOT/relay-proto/fuzz/Cargo.toml ]] || die "relay-proto/fuzz/Cargo.toml is missing: there is nothing to fuzz"
cd "$ROOT/relay-proto"
# libFuzzer's instrumentation wants switches that the stable compiler keeps for itself.
export RUSTC_BOOTSTRAP=1

targets=("$@")
if ((${#targets[@]} == 0)); then
    mapfile -t targets < <(cargo fuzz list)
fi
((${#targets[@]})) || die "relay-proto/fuzz lists no targets"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo fuzz build
for target in "${targets[@]}"; do
    echo "fuzzing $target for $seconds s"
    if ! cargo fuzz run "$target" -- -max_total_time="$seconds" -print_final_stats=1 >"$log" 2>&1; then
        tail -n 60 "$log"
        die "fuzz target $target failed; its input is under relay-proto/fuzz/artifacts/$target"
    fi
    grep -E '^(Done|stat::number_of_executed_units|stat::peak_rss_mb)' "$log" | sed 's/^/  /'
done
echo "${#targets[@]} targets clean for $seconds s each: ${targets[*]}"
