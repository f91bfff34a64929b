"""Collects the licences of the crates that the wheel is built of.

    python python/licences.py

Writes python/segcal/THIRD-PARTY-LICENCES, which a build of the wheel takes up. A text that several crates share stands once.
A crate without a file of its own is listed with its licence expression.
"""

import json
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "python/segcal/THIRD-PARTY-LICENCES"
NAMES = re.compile(r"(?i)^(licen[cs]e|copying|copyright|notice|unlicense)")
TARGET = "x86_64-unknown-linux-gnu"


def packages():
    """Every crate of the wheel but our own: normal dependencies, followed from segcal-python."""
    command = ["cargo", "metadata", "--format-version=1", "--locked", f"--filter-platform={TARGET}"]
    metadata = json.loads(subprocess.check_output(command, cwd=ROOT))
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    known = {package["id"]: package for package in metadata["packages"]}
    todo = [key for key, package in known.items() if package["name"] == "segcal-python"]
    seen = set()
    while todo:
        key = todo.pop()
        if key in seen:
            continue
        seen.add(key)
        for dependency in nodes[key]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                todo.append(dependency["pkg"])
    foreign = [known[key] for key in seen if known[key]["source"]]
    return sorted(foreign, key=lambda package: (package["name"], package["version"]))


def texts(package):
    folder = Path(package["manifest_path"]).parent
    files = sorted(path for path in folder.iterdir() if path.is_file() and NAMES.match(path.name))
    for path in files:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        yield "\n".join(line.rstrip() for line in lines).strip()


def collected():
    users, listed = {}, []
    for package in packages():
        name = f"{package['name']} {package['version']}"
        listed.append(f"{name}: {package['license'] or 'see its text'}")
        for text in texts(package):
            users.setdefault(text, []).append(name)
    parts = ["Licences of the crates that this wheel is built of.\n", *listed]
    for text, names in users.items():
        parts += ["\n" + "=" * 80, "\n".join(names), "-" * 80, text]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    OUT.write_text(collected(), encoding="utf-8")
