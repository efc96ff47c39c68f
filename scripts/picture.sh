#!/usr/bin/env bash
# Takes the README's picture: `freshet dev --nodes 3`, a test pattern published on one page, the watch page of another
# browser photographed. Nothing is drawn by hand.
#
#   scripts/picture.sh
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
scripts/install.sh --for test
(install_npm tests/browser)
build_web
cargo build --release -p freshet
shots=$(mktemp -d)
port=18473
"$TARGET"/release/freshet dev --nodes 3 --max-sessions 20 --listen "127.0.0.1:$port" >"$shots/dev.log" 2>&1 &
dev=$!
trap 'kill "$dev" 2>/dev/null; rm -rf "$shots"' EXIT
for _ in $(seq 100); do
    curl -fsS -o /dev/null "http://127.0.0.1:$port/readyz" 2>/dev/null && break
    sleep 0.2
done
(cd tests/browser && FRESHET_WATCH_URL="http://127.0.0.1:$port" FRESHET_SHOTS="$shots" node pages.mjs >"$shots/pages.json")
mkdir -p docs/images
cp "$shots/watch-1920-dark.png" docs/images/watch.png
echo "docs/images/watch.png is new"
