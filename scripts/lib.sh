# Shared by the scripts of this folder: source it, do not run it.
# Sets ROOT (the checkout), TOOLS (where built helpers are kept between runs) and the toolchain.
# shellcheck shell=bash disable=SC2034

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}

# The pinned versions of helpers that no lock file holds.
HELM_VERSION=v3.22.0
CARGO_FUZZ_VERSION=0.13.2
KUBERNETES_VALIDATE_VERSION=1.36.0
KUBERNETES_VERSION=1.36
NODE_VERSION=20.19
GO_VERSION=1.25

# Built helpers (helm takes minutes) outlive a checkout. FRESHET_TOOLS names another folder.
tools_folder() {
    local cache=${FRESHET_TOOLS:-${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}}
    if [[ -z ${FRESHET_TOOLS:-} && -n $cache ]]; then cache=$cache/freshet-tools; fi
    if [[ -z $cache ]] || ! mkdir -p "$cache/bin" 2>/dev/null || [[ ! -w $cache/bin ]]; then
        cache=$TARGET/tools
        mkdir -p "$cache/bin"
    fi
    printf '%s\n' "$cache"
}
TOOLS=$(tools_folder)
# Debian keeps servers where a plain user does not look.
export PATH="$TOOLS/bin:$PATH:/usr/sbin:/sbin"

# The Rust version that rust-toolchain.toml pins.
pinned_rust() {
    sed -n 's/^channel *= *"\(.*\)"/\1/p' "$ROOT/rust-toolchain.toml"
}

# rustup knows a toolchain by the name it was installed under: a "stable" of the pinned version
# serves as well as one that is called by its number.
pick_toolchain() {
    if [[ -n ${RUSTUP_TOOLCHAIN:-} ]] || ! command -v rustup >/dev/null; then return 0; fi
    if (cd "$ROOT" && RUSTUP_AUTO_INSTALL=0 cargo --version >/dev/null 2>&1); then return 0; fi
    local name
    for name in $(rustup toolchain list 2>/dev/null | sed 's/ .*//'); do
        if [[ $(rustup run "$name" rustc --version 2>/dev/null) == "rustc $(pinned_rust) "* ]]; then
            export RUSTUP_TOOLCHAIN=$name
            return 0
        fi
    done
}
pick_toolchain

die() {
    printf '%s\n' "$*" >&2
    exit 1
}

# npm ci in a folder, unless its node_modules was made from this very lock file.
install_npm() {
    cd "$ROOT/$1" 2>/dev/null && [[ -f package-lock.json ]] || die "$1/package-lock.json is missing: there is nothing to install"
    local want stamp=node_modules/.freshet-lock
    want=$(sha256sum package.json package-lock.json | sha256sum)
    if [[ -f $stamp && $(<"$stamp") == "$want" ]]; then return 0; fi
    PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm ci --no-audit --no-fund --prefer-offline
    printf '%s\n' "$want" >"$stamp"
}

# web/dist, unless nothing of web/ is newer than it.
build_web() {
    (install_npm web)
    local stamp=$ROOT/web/dist/index.html
    if [[ -f $stamp && -z $(find "$ROOT/web" -path "$ROOT/web/node_modules" -prune -o -path "$ROOT/web/dist" -prune \
        -o -type f -newer "$stamp" -print -quit) ]]; then
        return 0
    fi
    (cd "$ROOT/web" && npm run build)
}
