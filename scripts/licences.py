#!/usr/bin/env python3
"""Checks every dependency in the lock files against deny.toml, with nothing but what is on disk.

    cargo metadata --locked --format-version 1 | scripts/licences.py CARGO_LOCK…
    scripts/licences.py --self-test

Refused: a licence that deny.toml does not allow, or none; a package from anywhere but a registry;
a lock entry without a checksum; a version that scripts/advisories.txt lists. Reported only: crates
that stand in the graph in several majors.
"""

import json
import pathlib
import re
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent


class BadExpression(ValueError):
    """A licence expression that cannot be read."""


def allowed(expression, allow):
    """Whether an SPDX expression can be met with licences of `allow`. The old `A/B` means `A OR B`."""
    words = re.findall(r"\(|\)|[^\s()]+", re.sub(r"\s*/\s*", " OR ", expression))
    if not words:
        raise BadExpression("it is empty")

    def either():
        met = both()
        while words and words[0] == "OR":
            words.pop(0)
            met = both() or met
        return met

    def both():
        met = single()
        while words and words[0] == "AND":
            words.pop(0)
            met = single() and met
        return met

    def single():
        if not words:
            raise BadExpression("it ends too early")
        word = words.pop(0)
        if word == "(":
            met = either()
            if not words or words.pop(0) != ")":
                raise BadExpression("a parenthesis is not closed")
            return met
        if word in (")", "AND", "OR", "WITH"):
            raise BadExpression(f"`{word}` stands where a licence should")
        if len(words) > 1 and words[0] == "WITH":
            words.pop(0)
            word = f"{word} WITH {words.pop(0)}"
        return word in allow

    met = either()
    if words:
        raise BadExpression(f"`{words[0]}` stands where it should end")
    return met


def version_key(text):
    """A version as something that sorts; a pre-release sorts before its release."""
    core, _, pre = text.split("+")[0].partition("-")
    numbers = [int(part) for part in core.split(".")]
    return (numbers + [0, 0])[:3], pre == "", pre


def in_range(version, wanted):
    """`>=1.2.0, <1.2.5` and the like; every part must hold. `*` is any version."""
    tests = {
        "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, "=": lambda a, b: a == b,
        ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
    }
    for part in wanted.split(","):
        part = part.strip()
        if part == "*":
            continue
        match = re.fullmatch(r"(<=|>=|<|>|=)\s*([0-9][^\s]*)", part)
        if not match:
            raise BadExpression(f"`{part}` is no version range")
        if not tests[match[1]](version_key(version), version_key(match[2])):
            return False
    return True


def read_advisories(text):
    """Lines of `crate | affected versions | advisory | what it is`."""
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#")[0].strip()
        if line:
            parts = [part.strip() for part in line.split("|")]
            if len(parts) != 4:
                raise BadExpression(f"line {number} wants four parts divided by `|`")
            yield parts


def check_licences(packages, allow, exceptions=()):
    for package in packages:
        more = {name for entry in exceptions if entry["crate"] == package["name"] for name in entry["allow"]}
        name = f"{package['name']} {package['version']}"
        expression = package.get("license")
        if not expression:
            yield f"{name} names no licence"
            continue
        try:
            if not allowed(expression, allow | more):
                yield f"{name}: its licence `{expression}` is not allowed by deny.toml"
        except BadExpression as error:
            yield f"{name}: its licence `{expression}` cannot be read: {error}"


def check_lock(name, lock, advisories, ignored):
    for package in lock.get("package", []):
        what = f"{name}: {package['name']} {package['version']}"
        source = package.get("source")
        if source is None:
            continue  # a crate of this repository
        if not source.startswith("registry+"):
            yield f"{what} comes from {source.split('?')[0]}; only registries are allowed"
        elif not re.fullmatch(r"[0-9a-f]{64}", package.get("checksum", "")):
            yield f"{what} has no checksum"
        for crate, wanted, advisory, text in advisories:
            if crate == package["name"] and advisory not in ignored and in_range(package["version"], wanted):
                yield f"{what}: {advisory}: {text} (affected: {wanted})"


def majors(packages):
    """Crates in the graph in several incompatible versions."""
    found = {}
    for package in packages:
        numbers = version_key(package["version"])[0]
        major = f"{numbers[0]}" if numbers[0] else f"0.{numbers[1]}"
        found.setdefault(package["name"], {})[major] = package["version"]
    return {name: sorted(versions.values()) for name, versions in found.items() if len(versions) > 1}


def main(locks):
    deny = tomllib.loads((ROOT / "deny.toml").read_text())
    allow = set(deny["licenses"]["allow"])
    ignored = set(deny["advisories"]["ignore"])
    advisories = list(read_advisories((ROOT / "scripts/advisories.txt").read_text()))
    packages = json.load(sys.stdin)["packages"]
    broken = list(check_licences(packages, allow, deny["licenses"].get("exceptions", [])))
    entries = 0
    for name in locks:
        lock = tomllib.loads(pathlib.Path(name).read_text())
        entries += len(lock.get("package", []))
        broken += check_lock(name, lock, advisories, ignored)
    twice = majors(packages)
    if twice:
        print(f"{len(twice)} crates in several majors (reported, not refused):")
        for name, versions in sorted(twice.items()):
            print(f"  {name}: {', '.join(versions)}")
    for line in broken:
        print(line, file=sys.stderr)
    if broken or not packages or not entries:
        sys.exit(f"{len(broken)} dependencies are not what deny.toml asks for")
    print(f"{len(packages)} crates have allowed licences; {entries} lock entries have registry and checksum; "
          f"none is among {len(advisories)} listed advisories")


def self_test():
    allow = {"MIT", "Apache-2.0", "ISC", "Apache-2.0 WITH LLVM-exception"}
    for expression, want in [
        ("MIT", True), ("GPL-3.0-only", False), ("MIT OR GPL-3.0-only", True), ("MIT AND GPL-3.0-only", False),
        ("MIT/Apache-2.0", True), ("GPL-2.0 / LGPL-2.1", False), ("(MIT OR X) AND (ISC)", True),
        ("X OR (MIT AND Y)", False), ("Apache-2.0 WITH LLVM-exception", True), ("ISC WITH LLVM-exception", False),
        ("ISC AND (Apache-2.0 OR ISC) AND Y", False),
    ]:
        assert allowed(expression, allow) is want, expression
    for expression in ["", "MIT AND", "(MIT", "MIT)", "OR MIT", "MIT MIT"]:
        try:
            allowed(expression, allow)
        except BadExpression:
            continue
        raise AssertionError(f"{expression!r} was read")
    assert list(check_licences([{"name": "a", "version": "1.0.0", "license": None}], allow))
    assert list(check_licences([{"name": "a", "version": "1.0.0", "license": "GPL-3.0"}], allow))
    assert not list(check_licences([{"name": "a", "version": "1.0.0", "license": "MIT"}], allow))
    other = [{"name": "b", "version": "1.0.0", "license": "MIT AND NCSA"}]
    assert not list(check_licences(other, allow, [{"crate": "b", "allow": ["NCSA"]}]))
    assert list(check_licences(other, allow, [{"crate": "c", "allow": ["NCSA"]}]))
    for version, wanted, want in [
        ("1.2.3", "<1.2.4", True), ("1.2.4", "<1.2.4", False), ("1.2.4-rc.1", "<1.2.4", True), ("9.0.0", "*", True),
        ("0.23.14", ">=0.23.13, <0.23.18", True), ("0.23.12", ">=0.23.13, <0.23.18", False), ("1.10.0", "<1.9.0", False),
    ]:
        assert in_range(version, wanted) is want, (version, wanted)
    good = {"name": "a", "version": "1.0.0", "source": "registry+x", "checksum": "0" * 64}
    for change, part in [
        ({"source": "git+x?rev=1"}, "only registries"), ({"checksum": ""}, "no checksum"), ({"version": "0.9.0"}, "BUG-1"),
    ]:
        lines = list(check_lock("Cargo.lock", {"package": [good | change]}, [["a", "<1.0.0", "BUG-1", "bad"]], set()))
        assert len(lines) == 1 and part in lines[0], (change, lines)
    assert not list(check_lock("Cargo.lock", {"package": [good]}, [["a", "<1.0.0", "BUG-1", "bad"]], set()))
    assert not list(check_lock("Cargo.lock", {"package": [good]}, [["a", "*", "BUG-1", "bad"]], {"BUG-1"}))
    assert majors([{"name": "a", "version": v} for v in ("1.0.0", "1.2.0")]) == {}
    assert majors([{"name": "a", "version": v} for v in ("0.1.0", "0.2.0")]) == {"a": ["0.1.0", "0.2.0"]}
    print("licences.py tells good dependencies from bad ones")


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        self_test()
    else:
        main(sys.argv[1:] or [str(ROOT / "Cargo.lock")])
