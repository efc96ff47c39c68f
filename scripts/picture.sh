#!/usr/bin/env bash
# Takes the README's picture: `freshet dev --nodes 3` with one session a node, a test pattern published on one page, the
# watch page of another browser, on another node, photographed. Nothing is drawn by hand.
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
"$TARGET"/release/freshet dev --nodes 3 --max-sessions 1 --listen "127.0.0.1:$port" >"$shots/dev.log" 2>&1 &
dev=$!
trap 'kill "$dev" 2>/dev/null; rm -rf "$shots"' EXIT
for _ in $(seq 100); do
    curl -fsS -o /dev/null "http://127.0.0.1:$port/readyz" 2>/dev/null && break
    sleep 0.2
done
(cd tests/browser && FRESHET_WATCH_URL="http://127.0.0.1:$port" FRESHET_SHOTS="$shots" node pages.mjs >"$shots/pages.json")
# What the picture is said to show: the stream came to the viewer over a link between two nodes.
crossed=0
for node in $(grep -o 'http_addr=[0-9.:]*' "$shots/dev.log" | cut -d= -f2); do
    sent=$(curl -fsS "http://$node/metrics" | awk '/^freshet_node_relay_sent_packets_total/ { sum += $2 } END { print sum + 0 }')
    crossed=$((crossed + sent))
done
((crossed > 500)) || die "picture.sh: $crossed packets crossed between nodes: the viewer was where the host was"
mkdir -p docs/images
cp "$shots/watch-1920-light.png" docs/images/watch.png
echo "docs/images/watch.png is new"
