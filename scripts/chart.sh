#!/usr/bin/env bash
# Checks the chart: lints it, renders it with its defaults and with everything on, checks every
# manifest against the schemas of Kubernetes and against our own rules, and sees bad values refused.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

chart=helm/freshet
python=$TOOLS/python/bin/python
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

[[ -f $chart/Chart.yaml ]] || die "$chart/Chart.yaml is missing: there is no chart to check"
command -v helm >/dev/null && [[ -x $python ]] || die "run scripts/install.sh --for chart first"
# A folder of our own: nothing of the user's helm has a say.
export HELM_CACHE_HOME=$work/cache HELM_CONFIG_HOME=$work/config HELM_DATA_HOME=$work/data

render() {
    helm template live "$chart" --namespace live --kube-version "$KUBERNETES_VERSION" "$@"
}

manifests=0
for values in values.yaml values-ci.yaml; do
    helm lint --strict --quiet --kube-version "$KUBERNETES_VERSION" "$chart" --values "$chart/$values"
    render --values "$chart/$values" --output-dir "$work/$values" >/dev/null
    mapfile -t files < <(find "$work/$values" -type f -name '*.yaml')
    ((${#files[@]} >= 7)) || die "$values renders only ${#files[@]} manifests"
    "$TOOLS/python/bin/kubernetes-validate" -k "$KUBERNETES_VERSION" --strict --quiet "${files[@]}"
    "$python" scripts/chart_rules.py "${files[@]}"
    manifests=$((manifests + ${#files[@]}))
done
"$python" scripts/chart_rules.py --self-test "$work/values.yaml"/freshet/templates/*.yaml

# Nodes with a certificate serve clients by it, and coordinators without; the others have neither port nor files of it.
with=$work/values-ci.yaml/freshet/templates/node-statefulset.yaml
without=$work/values.yaml/freshet/templates/node-statefulset.yaml
for wanted in 'FRESHET_LISTEN, value: "0.0.0.0:31443"' 'FRESHET_LISTEN_PLAIN, value: "0.0.0.0:8080"' 'http://$(POD_IP):8080' \
    'FRESHET_TLS_CERT, value: /etc/freshet/tls/tls.crt' 'name: https, containerPort: 31443' 'mountPath: /etc/freshet/tls' 'secretName: node-tls'; do
    grep -qF "$wanted" "$with" || die "a node with node.tls.existingSecret lacks $wanted"
done
for stray in FRESHET_TLS FRESHET_LISTEN_PLAIN https /etc/freshet/tls; do
    ! grep -qF "$stray" "$without" || die "a node without node.tls.existingSecret has $stray"
done
# Whoever names the proxies in front names them to both roles; whoever names none leaves them to freshet.toml.
for role in node-statefulset coordinator-deployment; do
    grep -qF 'FRESHET_TRUSTED_PROXY, value: "10.244.0.0/16,2001:db8::7"' "$work/values-ci.yaml/freshet/templates/$role.yaml" ||
        die "trustedProxies do not reach $role"
    ! grep -qF FRESHET_TRUSTED_PROXY "$work/values.yaml/freshet/templates/$role.yaml" || die "$role trusts proxies that nobody named"
done
mapped=$(render --set node.tls.existingSecret=node-tls --show-only templates/node-statefulset.yaml)
[[ $mapped == *'name: https, containerPort: 8443, hostPort: 8443'* ]] || die "hostPort does not map a node's HTTPS"

# The schemas themselves must be able to say no: a wrong type, and a field that does not exist.
sample=$work/values.yaml/freshet/templates/node-statefulset.yaml
for damage in 's/^  replicas: 3/  replicas: three/' 's/^  replicas: 3/  replica: 3/'; do
    sed "$damage" "$sample" >"$work/damaged.yaml"
    if "$TOOLS/python/bin/kubernetes-validate" -k "$KUBERNETES_VERSION" --strict --quiet "$work/damaged.yaml" >/dev/null 2>&1; then
        die "kubernetes-validate takes a manifest with $damage"
    fi
done

# A chart that takes any value is not checked: each of these must be refused, and for its own reason.
refused=0
refuse() {
    local reason=$1 said
    printf '%s\n' "${@:2}" >"$work/bad.yaml"
    if said=$(render --values "$work/bad.yaml" 2>&1 >/dev/null); then
        die "the chart takes ${*:2}"
    fi
    [[ $said == *"$reason"* ]] || die "the chart refuses ${*:2}, but says: $said"
    refused=$((refused + 1))
}
refuse "node/replicas" "node: {replicas: many}"
refuse "node/replicas" "node: {replicas: 0}"
refuse "node/udpPort" "node: {udpPort: 70000}"
refuse "node/exposure" "node: {exposure: nodePort}"
refuse "node/candidates/0" "node: {candidates: [media.example.org]}"
refuse "node/udpBinds/0" "node: {udpBinds: [eth0]}"
refuse "replica" "node: {replica: 3}"
refuse "etcd" "etcd: etcd:2379"
refuse "nats/0" "nats: [nats:4222]"
refuse "auth/apiKeys/0" "auth: {apiKeys: [short]}"
refuse "node/tls" "node: {tls: {existingSecret: Not_A_Name}}"
refuse "node/tls/port" "node: {tls: {port: 443}}"
refuse "trustedProxies/0" "trustedProxies: [ingress.example.org]"
refuse "trustedProxies" "trustedProxies: 10.244.0.0/16"
refuse "relayTls" "relayTls: {existingSecret: Not_A_Name}"
refuse "coordinator/tls" "coordinator: {tls: {existingSecret: Not_A_Name}}"
refuse "log/format" "log: {format: xml}"
refuse "typo" "typo: 1"
refuse "needs coordinator.ingress.host" "coordinator: {ingress: {enabled: true, tlsSecret: live}}"

echo "$manifests manifests fit Kubernetes $KUBERNETES_VERSION and our rules; $refused bad values are refused"
