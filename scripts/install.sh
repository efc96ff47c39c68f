#!/usr/bin/env bash
# Installs what a task needs and this machine lacks, or says in one line what to install.
# Quick when all is there. Asks nothing. Everything comes from package registries: the
# distribution's, Rust's, Python's, npm's and Go's.
#
#   scripts/install.sh --for run|test|bench|fuzz|chart
set -euo pipefail
. "$(dirname "$0")/lib.sh"

task=
while (($#)); do
    case $1 in
    --for) task=${2:-}; shift 2 ;;
    -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) die "install.sh: unknown argument '$1'; see --help" ;;
    esac
done

# What each task needs. A need is a name of the table below.
common="cc make"
rust="$common cargo protoc protos"
case $task in
run) needs="$rust node npm" ;;
bench) needs="$rust" ;;
fuzz) needs="$rust cxx cargo-fuzz" ;;
chart) needs="$common python3 venv helm kubernetes-validate" ;;
test) needs="$rust cxx node npm go etcd nats chromium firefox unshare ffmpeg iproute2 nft turnserver nginx faketime openssl curl shellcheck python3 venv cargo-fuzz helm kubernetes-validate" ;;
*) die "install.sh: --for wants one of run, test, bench, fuzz, chart" ;;
esac

# Whether the second version is the first one or newer.
new_enough() {
    printf '%s\n' "$1" "$2" | sort --check --version-sort 2>/dev/null
}

# Whether the distribution is known to have a package only in a version that is too old.
old_only() {
    local candidate
    candidate=$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: \([0-9]*:\)\{0,1\}\([0-9][^-~+]*\).*/\2/p')
    [[ -n $candidate ]] && ! new_enough "$2" "$candidate"
}
old_node_only() { old_only nodejs "$NODE_VERSION"; }
old_go_only() { old_only golang-go "$GO_VERSION"; }

has() {
    case $1 in
    cc) command -v cc >/dev/null ;;
    cxx) command -v c++ >/dev/null ;;
    cargo) (cd "$ROOT" && cargo --version >/dev/null 2>&1 && cargo clippy --version && cargo fmt --version) >/dev/null 2>&1 ;;
    protos) [[ -f /usr/include/google/protobuf/any.proto || -f /usr/local/include/google/protobuf/any.proto ]] ;;
    node) command -v node >/dev/null && new_enough "$NODE_VERSION" "$(node -p process.versions.node)" ;;
    go) command -v go >/dev/null && new_enough "$GO_VERSION" "$(go env GOVERSION | sed 's/^go//')" ;;
    etcd) command -v etcd >/dev/null || [[ -n ${FRESHET_TEST_ETCD:-} ]] ;;
    nats) command -v nats-server >/dev/null || [[ -x /usr/sbin/nats-server || -n ${FRESHET_TEST_NATS:-} ]] ;;
    chromium) command -v chromium >/dev/null || command -v chromium-browser >/dev/null || [[ -n ${CHROMIUM:-} ]] ;;
    firefox) command -v firefox-esr >/dev/null || [[ -n ${FRESHET_FIREFOX:-} ]] ;;
    nginx) command -v nginx >/dev/null || [[ -x /usr/sbin/nginx ]] ;;
    nft) command -v nft >/dev/null || [[ -x /usr/sbin/nft || -x /sbin/nft ]] ;;
    iproute2) command -v ip >/dev/null || [[ -x /usr/sbin/ip || -x /sbin/ip ]] ;;
    venv) python3 -c 'import venv, ensurepip' 2>/dev/null ;;
    helm) [[ $(helm version --template '{{.Version}}' 2>/dev/null) == "$HELM_VERSION"* || -f $TOOLS/helm-$HELM_VERSION ]] && command -v helm >/dev/null ;;
    cargo-fuzz) [[ $(cargo fuzz --version 2>/dev/null) == "cargo-fuzz $CARGO_FUZZ_VERSION" ]] ;;
    kubernetes-validate) [[ -f $TOOLS/python-$KUBERNETES_VALIDATE_VERSION && -x $TOOLS/python/bin/kubernetes-validate ]] ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

# The distribution's package for a need; empty where another registry has it, or where the
# distribution's own may be too old to be of use.
package() {
    case $1 in
    cc | cxx | make) echo build-essential ;;
    protoc) echo protobuf-compiler ;;
    protos) echo libprotobuf-dev ;;
    node) old_node_only || echo nodejs ;;
    go) old_go_only || echo golang-go ;;
    # Some packages of Node.js bring npm with them and refuse another: asked for once Node.js is there.
    npm) ! command -v node >/dev/null || echo npm ;;
    etcd) echo etcd-server ;;
    nats) echo nats-server ;;
    chromium) echo chromium fonts-dejavu-core ;;
    firefox) echo firefox-esr ;;
    unshare) echo util-linux ;;
    ffmpeg) echo ffmpeg ;;
    nft) echo nftables ;;
    turnserver) echo coturn ;;
    iproute2 | nginx | faketime | openssl | curl | shellcheck) echo "$1" ;;
    python3) echo python3 ;;
    venv) echo python3-venv ;;
    esac
}

missing() {
    local need
    for need in $needs; do
        has "$need" || printf '%s ' "$need"
    done
}

# What no package brings: named in the same line as the packages.
outside() {
    local need
    for need in $1; do
        case $need in
        cargo) command -v rustup >/dev/null || printf ', Rust %s (rustup.rs)' "$(pinned_rust)" ;;
        node) ! old_node_only || printf ', Node.js %s or newer (nodejs.org)' "$NODE_VERSION" ;;
        go) ! old_go_only || printf ', Go %s or newer (go.dev)' "$GO_VERSION" ;;
        helm) command -v go >/dev/null || printf ', Go %s or newer (go.dev), or helm %s' "$GO_VERSION" "$HELM_VERSION" ;;
        esac
    done
}

install_packages() {
    local packages=() need name sudo=() more
    for need in $1; do
        for name in $(package "$need"); do
            [[ " ${packages[*]-} " == *" $name "* ]] || packages+=("$name")
        done
    done
    more=$(outside "$1")
    if ((${#packages[@]} == 0)); then
        [[ -z $more ]] || die "freshet needs: ${more#, }"
        return 0
    fi
    command -v apt-get >/dev/null || die "freshet needs: ${packages[*]} (Debian's names)$more"
    if ((EUID != 0)); then
        command -v sudo >/dev/null && sudo -n true 2>/dev/null || die "freshet needs: sudo apt-get install ${packages[*]}$more"
        sudo=(sudo -n)
    fi
    [[ -z $more ]] || die "freshet needs: ${more#, }"
    echo "installing ${packages[*]}"
    # RUNLEVEL=1 keeps a freshly installed server from being started here: tests start their own.
    "${sudo[@]}" apt-get update -qq </dev/null
    "${sudo[@]}" env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${packages[@]}" </dev/null
}

install_rust() {
    local version
    version=$(pinned_rust)
    rustup toolchain install "$version" --profile minimal --component rustfmt --component clippy </dev/null ||
        die "freshet needs: rustup toolchain install $version --component rustfmt --component clippy"
}

install_cargo_fuzz() {
    echo "building cargo-fuzz $CARGO_FUZZ_VERSION (about a minute, once)"
    cargo install cargo-fuzz --version "$CARGO_FUZZ_VERSION" --locked --quiet --force --root "$TOOLS" </dev/null
}

install_helm() {
    echo "building helm $HELM_VERSION (about five minutes, once)"
    rm -f "$TOOLS"/helm-v*
    GOBIN=$TOOLS/bin GOFLAGS='' CGO_ENABLED=0 go install -ldflags '-s -w' "helm.sh/helm/v3/cmd/helm@$HELM_VERSION" </dev/null
    touch "$TOOLS/helm-$HELM_VERSION"
}

install_kubernetes_validate() {
    echo "installing kubernetes-validate $KUBERNETES_VALIDATE_VERSION"
    rm -rf "$TOOLS/python" "$TOOLS"/python-*
    python3 -m venv "$TOOLS/python"
    "$TOOLS/python/bin/pip" install --quiet --disable-pip-version-check \
        "kubernetes-validate==$KUBERNETES_VALIDATE_VERSION" </dev/null
    touch "$TOOLS/python-$KUBERNETES_VALIDATE_VERSION"
}

lacking=$(missing)
[[ -n $lacking ]] || exit 0
install_packages "$lacking"
if [[ " $lacking" == *" npm "* ]] && ! has npm; then install_packages npm; fi
for need in $lacking; do
    has "$need" && continue
    case $need in
    cargo) install_rust ;;
    cargo-fuzz) install_cargo_fuzz ;;
    helm) install_helm ;;
    kubernetes-validate) install_kubernetes_validate ;;
    esac
done

lacking=$(missing)
case " $lacking" in
"  " | " ") ;;
*" node "*) die "freshet needs: Node.js $NODE_VERSION or newer (nodejs.org, or your distribution's backports); found $(node --version 2>/dev/null || echo none)" ;;
*" go "*) die "freshet needs: Go $GO_VERSION or newer (go.dev, or your distribution's backports); found $(go env GOVERSION 2>/dev/null || echo none)" ;;
*) die "freshet needs: $lacking(the installation did not bring them)" ;;
esac
