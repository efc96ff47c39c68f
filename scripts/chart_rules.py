"""Our own rules for the chart's rendered manifests, beyond the schemas of Kubernetes.

    chart_rules.py MANIFEST…
    chart_rules.py --self-test MANIFEST…    breaks each rule in turn and sees it told
"""

import base64
import copy
import re
import sys

import yaml

POD_OWNERS = ("StatefulSet", "Deployment")


def check(manifests):
    """Yields what is wrong, as `Kind/name: what`."""
    names = {(m["kind"], m["metadata"]["name"]) for m in manifests}
    for manifest in manifests:
        where = f"{manifest['kind']}/{manifest['metadata']['name']}"
        if not manifest["metadata"].get("labels", {}).get("app.kubernetes.io/instance"):
            yield f"{where}: has no instance label"
        if manifest["kind"] == "ServiceAccount" and manifest.get("automountServiceAccountToken") is not False:
            yield f"{where}: mounts a token by default"
        if manifest["kind"] == "Secret":
            data = {key: base64.b64decode(value).decode() for key, value in manifest.get("data", {}).items()}
            if not all(re.fullmatch(r"[\w-]+:\S{16,}", line) for line in data.get("api-keys", "").splitlines() or [""]):
                yield f"{where}: its api-keys are no lines of ID:SECRET"
            if len(data.get("cluster-secret", "")) < 16:
                yield f"{where}: its cluster-secret is too short"
        if manifest["kind"] in POD_OWNERS:
            for problem in check_pods(manifest, names):
                yield f"{where}: {problem}"
        if manifest["kind"] in ("Service", "PodDisruptionBudget"):
            selector = manifest["spec"]["selector"]
            wanted = selector.get("matchLabels", selector).items()
            pods = [m["spec"]["template"]["metadata"]["labels"] for m in manifests if m["kind"] in POD_OWNERS]
            if sum(wanted <= labels.items() for labels in pods) != 1:
                yield f"{where}: does not select the pods of exactly one workload"


def check_pods(manifest, names):
    template = manifest["spec"]["template"]
    pod = template["spec"]
    security = pod.get("securityContext", {})
    if security.get("runAsNonRoot") is not True or security.get("runAsUser") != 65532:
        yield "does not run as user 65532"
    if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "has no seccomp profile"
    if pod.get("automountServiceAccountToken") is not False:
        yield "mounts a token for the Kubernetes API"
    if not pod.get("topologySpreadConstraints"):
        yield "is not spread"
    if not manifest["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items():
        yield "does not select its own pods"
    for container in pod["containers"]:
        inner = container.get("securityContext", {})
        if inner.get("readOnlyRootFilesystem") is not True:
            yield "may write to its root file system"
        if inner.get("allowPrivilegeEscalation") is not False:
            yield "may gain privileges"
        if inner.get("capabilities", {}).get("drop") != ["ALL"]:
            yield "keeps capabilities"
        for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
            if container.get(probe, {}).get("httpGet", {}).get("path") != path:
                yield f"has no {probe} at {path}"
        for part in ("requests", "limits"):
            if "memory" not in container.get("resources", {}).get(part, {}):
                yield f"has no memory in its {part}"
        yield from check_environment(container, pod)
        ports = [(p["containerPort"], p["protocol"]) for p in container["ports"]]
        if len(ports) != len(set(ports)):
            yield "names a port twice"
    for volume in pod.get("volumes", []):
        if "configMap" in volume and ("ConfigMap", volume["configMap"]["name"]) not in names:
            yield f"mounts a ConfigMap that is not there: {volume['configMap']['name']}"


def check_environment(container, pod):
    env = {entry["name"]: entry.get("value", "") for entry in container.get("env", [])}
    wanted = {"FRESHET_LISTEN", "FRESHET_ETCD", "FRESHET_NATS", "FRESHET_API_KEY_FILE", "FRESHET_CLUSTER_SECRET_FILE",
              "FRESHET_DRAIN_TIMEOUT", "FRESHET_ID", "FRESHET_LOG", "FRESHET_CONFIG"}
    if container["args"] == ["node"]:
        wanted |= {"FRESHET_UDP_PORT", "FRESHET_SHARDS", "FRESHET_IP", "FRESHET_RELAY", "FRESHET_RELAY_ADVERTISE", "FRESHET_HTTP_ADVERTISE"}
    for name in sorted(wanted - env.keys()):
        yield f"does not set {name}"
    seen = set()
    for entry in container.get("env", []):
        for used in re.findall(r"\$\((\w+)\)", entry.get("value") or ""):
            if used not in seen:
                yield f"{entry['name']} uses {used}, which is not set before it"
        seen.add(entry["name"])
    drain = re.fullmatch(r"(\d+)s", env.get("FRESHET_DRAIN_TIMEOUT", ""))
    sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    if not drain or pod.get("terminationGracePeriodSeconds", 30) < int(drain[1]) + sleep + 5:
        yield "is killed before its drain and 5 s are over"
    if any("SECRET" in name and not name.endswith("_FILE") for name in env):
        yield "has a secret in its environment"


def self_test(manifests):
    def workload(change):
        return lambda ms: [change(m["spec"]["template"]["spec"]) for m in ms if m["kind"] == "StatefulSet"]

    def container(change):
        return workload(lambda pod: change(pod["containers"][0]))

    breaks = {
        "does not run as user 65532": workload(lambda p: p["securityContext"].pop("runAsNonRoot")),
        "no seccomp": workload(lambda p: p["securityContext"].pop("seccompProfile")),
        "mounts a token for": workload(lambda p: p.pop("automountServiceAccountToken")),
        "mounts a token by": lambda ms: [m.pop("automountServiceAccountToken") for m in ms if m["kind"] == "ServiceAccount"],
        "is not spread": workload(lambda p: p.pop("topologySpreadConstraints")),
        "root file system": container(lambda c: c["securityContext"].pop("readOnlyRootFilesystem")),
        "may gain": container(lambda c: c["securityContext"].pop("allowPrivilegeEscalation")),
        "keeps capabilities": container(lambda c: c["securityContext"].pop("capabilities")),
        "has no readinessProbe": container(lambda c: c.pop("readinessProbe")),
        "no memory in its limits": container(lambda c: c["resources"].pop("limits")),
        "does not set FRESHET_IP": container(lambda c: c["env"].remove(next(e for e in c["env"] if e["name"] == "FRESHET_IP"))),
        "not set before": container(lambda c: c["env"].reverse()),
        "is killed before": workload(lambda p: p.update(terminationGracePeriodSeconds=60)),
        "names a port twice": container(lambda c: c["ports"].append(c["ports"][0])),
        "secret in its environment": container(lambda c: c["env"].append({"name": "FRESHET_CLUSTER_SECRET", "value": "x"})),
        "ConfigMap that is not there": lambda ms: ms.remove(next(m for m in ms if m["kind"] == "ConfigMap")),
        "exactly one workload": lambda ms: [m["spec"]["selector"].clear() for m in ms if m["kind"] == "Service"],
        "no lines of ID:SECRET": lambda ms: [m["data"].update({"api-keys": "eA=="}) for m in ms if m["kind"] == "Secret"],
        "secret is too short": lambda ms: [m["data"].pop("cluster-secret") for m in ms if m["kind"] == "Secret"],
        "no instance label": lambda ms: [m["metadata"].pop("labels") for m in ms if m["kind"] == "Secret"],
    }
    for part, damage in breaks.items():
        broken = copy.deepcopy(manifests)
        damage(broken)
        if not any(part in problem for problem in check(broken)):
            sys.exit(f"chart_rules.py does not tell: {part}")


def main(arguments):
    files = [argument for argument in arguments if argument != "--self-test"]
    manifests = [m for name in files for m in yaml.safe_load_all(open(name, encoding="utf-8")) if m]
    problems = list(check(manifests))
    if problems or not manifests:
        sys.exit("\n".join(problems) or "no manifests were given")
    if "--self-test" in arguments:
        self_test(manifests)


if __name__ == "__main__":
    main(sys.argv[1:])
