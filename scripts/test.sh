#!/usr/bin/env bash
# All of the project's tests, as numbered steps. Nothing is tried twice, and nothing is skipped:
# a folder that a step needs and does not find fails that step.
#
#   scripts/test.sh [--only STEP,…] [--list]
#
# Logs of the steps stand in target/test-steps, those of processes that tests start in
# target/test-logs (FRESHET_TEST_LOGS for the tests). FUZZ_SECONDS sets the short fuzz run.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT" || exit 1

FUZZ_SECONDS=${FUZZ_SECONDS:-8}
LOGS=$TARGET/test-steps
export FRESHET_TEST_LOGS=$TARGET/test-logs
export CARGO_TERM_COLOR=never NO_COLOR=1
# A run that nobody repeats needs no incremental state, and panics name their lines without debug information.
[[ -z ${CI:-} ]] || export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=none

# name | limit in minutes | what it does
STEPS=(
    "install|20|install what the tests need"
    "fmt|2|formatter check"
    "scripts|2|the scripts' own syntax and checks"
    "web-install|5|npm packages by the lock file"
    "web-check|3|TypeScript checks"
    "web-test|5|tests of the web library"
    "web-build|3|build the pages"
    "licences|3|licences and advisories of dependencies"
    "clippy|15|lints, warnings denied"
    "rust-build|20|compile all Rust tests"
    "rust|30|all Rust tests, the whole cluster and the browser among them"
    "chart|3|the Helm chart: lint, render, schemas"
    "fuzz|10|a short run of every fuzz target"
    "secrets|2|no secret in any log of this run"
)

step_install() { scripts/install.sh --for test; }

step_fmt() {
    cargo fmt --all --check -- --color never && cargo fmt --manifest-path relay-proto/fuzz/Cargo.toml --check -- --color never
}

step_scripts() {
    shellcheck --severity=warning --external-sources --source-path=SCRIPTDIR scripts/*.sh .ci/run &&
        scripts/check-secrets.sh --self-test && python3 scripts/licences.py --self-test && make help
}

step_web-install() { (install_npm web) && (install_npm tests/browser); }
step_web-check() (cd web && npm run check)
step_web-test() (cd web && npm test)
step_web-build() (cd web && npm run build && [[ -s dist/index.html ]])
step_licences() { scripts/licences.sh; }
step_clippy() { cargo clippy --locked --workspace --all-targets -- -D warnings; }
step_rust-build() { cargo test --locked --workspace --no-run; }
step_rust() {
    cargo test --locked --workspace --no-fail-fast || return 1
    if cargo test --locked --workspace -- --list --ignored 2>/dev/null | grep ': test$'; then
        echo "these tests are ignored: nothing is skipped here"
        return 1
    fi
}
step_chart() { scripts/chart.sh; }
step_fuzz() { scripts/fuzz.sh --seconds "$FUZZ_SECONDS"; }

step_secrets() {
    local logs
    mapfile -t logs < <(find "$FRESHET_TEST_LOGS" -name '*.log' 2>/dev/null)
    if ((${#logs[@]} == 0)) || [[ ! -s $FRESHET_TEST_LOGS/secrets.txt ]]; then
        echo "the whole-cluster tests left no logs, or no secrets to look for, in $FRESHET_TEST_LOGS"
        return 1
    fi
    # What the steps themselves print is a log too: a failed assertion may show an answer.
    mapfile -t -O "${#logs[@]}" logs < <(find "$TARGET/test-steps" -name '*.log' ! -name secrets.log)
    scripts/check-secrets.sh --known "$FRESHET_TEST_LOGS/secrets.txt" "${logs[@]}"
}

only=
while (($#)); do
    case $1 in
    --only) only=,$2,; shift 2 ;;
    --list) printf '%s\n' "${STEPS[@]}" | sed 's/|.*|/\t/'; exit 0 ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) die "test.sh: unknown argument '$1'; see --help" ;;
    esac
done

run=()
for step in "${STEPS[@]}"; do
    [[ -z $only || $only == *",${step%%|*},"* ]] && run+=("$step")
done
((${#run[@]})) || die "test.sh: no step of that name; see --list"

rm -rf "$LOGS"
mkdir -p "$LOGS" "$FRESHET_TEST_LOGS"
[[ -z $only || $only == *,rust,* ]] && rm -rf "${FRESHET_TEST_LOGS:?}"/*

# Runs one step in a process group of its own with a limit; its exit code is the step's.
# The functions travel to the shell that `timeout` starts.
run_step() {
    local name=$1 minutes=$2
    timeout --kill-after=20 "${minutes}m" bash -c ". '$ROOT/scripts/lib.sh'; cd '$ROOT'; $(declare -f "step_$name")
step_$name" </dev/null >"$LOGS/$name.log" 2>&1
}
export FUZZ_SECONDS

# What a reader wants of a good step, in one line.
gist() {
    case $1 in
    rust) awk '/^test result:/ { gsub(";", ""); p += $4; i += $8; b++ } END { printf "%d tests in %d binaries, %d ignored", p, b, i }' "$LOGS/rust.log" ;;
    web-test) sed -n 's/^ *Tests  */tests: /p' "$LOGS/web-test.log" ;;
    chart | fuzz | licences | secrets) grep -v '^[[:space:]]*$' "$LOGS/$1.log" | tail -1 ;;
    esac
}

# What a reader wants of a failed one: for Rust each failed binary's own words, for others the end of the log.
lament() {
    if [[ $1 == rust* ]]; then
        # Errors of a build, and what each failed binary said of itself.
        awk '/^failures:$|^error(\[|:)/ { on = 150 } /^test result:|^     Running/ { on = 0 } on-- > 0 { print substr($0, 1, 400) }' \
            "$LOGS/$1.log" | head -400
    else
        tail -n 60 "$LOGS/$1.log"
    fi
}

# The same in a few lines, for the last screen of a run: which tests failed, and the first words of each.
nutshell() {
    if [[ $1 == rust* ]]; then
        grep -E '^test .* FAILED$|^error(\[|:)' "$LOGS/$1.log" | sort -u | head -12
        awk '/panicked at/ { n = 5 } n-- > 0 { print substr($0, 1, 240) }' "$LOGS/$1.log" | head -30
    else
        tail -n 8 "$LOGS/$1.log" | cut -c1-240
    fi
}

passed=0 failed=0 number=0
summary=() failures=()
began=$EPOCHSECONDS
for step in "${run[@]}"; do
    IFS='|' read -r name minutes text <<<"$step"
    number=$((number + 1))
    printf '[%2d/%d] %-12s %s\n' "$number" "${#run[@]}" "$name" "$text"
    start=$EPOCHSECONDS
    run_step "$name" "$minutes"
    code=$?
    took=$((EPOCHSECONDS - start))
    if ((code == 0)); then
        passed=$((passed + 1))
        printf '        ok in %d s  %s\n' "$took" "$(gist "$name")"
        summary+=("$(printf '%-12s ok      %5d s' "$name" "$took")")
    else
        failed=$((failed + 1))
        failures+=("$name")
        why="exit code $code"
        ((code == 124 || code == 137)) && why="not done within $minutes minutes"
        printf '        FAILED after %d s: %s; from %s:\n' "$took" "$why" "$LOGS/$name.log"
        lament "$name" | sed 's/^/        | /'
        summary+=("$(printf '%-12s FAILED  %5d s  %s' "$name" "$took" "$why")")
        # Without its tools every later step would fail for that one reason.
        if [[ $name == install ]]; then break; fi
    fi
done

printf '\nsteps, %d s in all:\n' "$((EPOCHSECONDS - began))"
printf '  %s\n' "${summary[@]}"
for name in "${failures[@]}"; do
    printf '\nfailed: %s (%s)\n' "$name" "$LOGS/$name.log"
    nutshell "$name" | sed 's/^/  | /'
done
printf '\n%d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
