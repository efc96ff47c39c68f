#!/usr/bin/env bash
# Fails when a log holds a secret. What counts as one: a token, a bearer or signed-call header, an
# ICE password, a private key, and every line of the files given with --known (secrets that a test
# made up, one a line, or ID:SECRET).
#
#   scripts/check-secrets.sh [--known FILE]… LOG…
#   scripts/check-secrets.sh --self-test
set -euo pipefail

patterns=(
    'eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}' # a JWT
    '[Bb]earer +[A-Za-z0-9._~+/-]{16,}'
    '[Ff]reshet-[Cc]all"?[:=] *"?[A-Za-z0-9_-]{16,}'
    '[?&]ticket=[A-Za-z0-9_-]{16,}' # a join ticket in a URL
    'ice-pwd["]?[:=] *"?[A-Za-z0-9+/]{16,}'
    'ice_pwd["]?[:=] *"?[A-Za-z0-9+/]{16,}'
    'pass(word)?["]?[:=] *"[A-Za-z0-9+/]{16,}'
    '-----BEGIN [A-Z ]*PRIVATE KEY-----'
)

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

self_test() {
    local sample
    printf '%s\n' 'sesame-open-now' '' 'key1:gate-of-the-hill' >"$folder/mine"
    local secret=(
        'token eyJhbGciOiJIUzI1NiJ9.eyJyb29tIjoiYSJ9.c2lnbmF0dXJlc2lnbmF0dXJl'
        'authorization: Bearer abcdefghijklmnopqrst'
        'freshet-call: eyJ2IjoxfQabcdefgh.c2ln'
        'POST /whep/room?wait=1&ticket=eyJ2IjoxfQabcdefgh.c2ln'
        'a=ice-pwd:0123456789abcdefghijklmn'
        '{"ice_pwd": "0123456789abcdefghijklmn"}'
        'IceCreds { ufrag: "abcd", pass: "0123456789abcdefghijklmn" }'
        '-----BEGIN EC PRIVATE KEY-----'
        'key k1:sesame-open-now'
        'a secret gate-of-the-hill alone'
    )
    for sample in "${secret[@]}"; do
        echo "$sample" >"$folder/log"
        if "$0" --known "$folder/mine" "$folder/log" >/dev/null 2>&1; then
            echo "check-secrets.sh does not see: $sample" >&2
            exit 1
        fi
    done
    printf '%s\n' 'session 4f2a of room_abc started' 'api_key=k1:***' 'a=ice-ufrag:abcd' 'Bearer ***' '/whep/room?ticket=***' >"$folder/log"
    "$0" --known "$folder/mine" "$folder/log" >/dev/null || { echo "check-secrets.sh sees a secret where none is" >&2; exit 1; }
    echo "check-secrets.sh tells ${#secret[@]} kinds of secret from an innocent log"
}

known=$folder/known
: >"$known"
files=()
while (($#)); do
    case $1 in
    --self-test) self_test; exit 0 ;;
    # Of ID:SECRET the secret alone counts too.
    --known) sed -n '/[^[:space:]]/{p;s/^[A-Za-z0-9_-]*:\(.\{8,\}\)$/\1/p}' "$2" >>"$known"; shift 2 ;;
    *) files+=("$1"); shift ;;
    esac
done
((${#files[@]})) || { echo "check-secrets.sh: no log files were given" >&2; exit 1; }

for file in "${files[@]}"; do
    [[ -r $file ]] || { echo "check-secrets.sh: $file cannot be read" >&2; exit 1; }
done
arguments=()
for pattern in "${patterns[@]}"; do arguments+=(-e "$pattern"); done
found=0
# The lines themselves stay out of the report: it is a log too.
grep -nHE "${arguments[@]}" -- "${files[@]}" | cut -d: -f1,2 | sed 's/$/: looks like a secret/' && found=1
if [[ -s $known ]]; then
    grep -nHF -f "$known" -- "${files[@]}" | cut -d: -f1,2 | sed 's/$/: holds a secret of the test/' && found=1
fi
if ((found)); then
    echo "secrets stand in logs: see the places above" >&2
    exit 1
fi
echo "${#files[@]} logs hold no secret"
