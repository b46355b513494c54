"""What the page takes from npm: fetched, copied, locked by hash, and checked.

    python tools/vendor.py            fetch what `vendor.toml` lists (needs npm), write the lock and the licences
    python tools/vendor.py --check    is what lies there what the lock says? (needs nothing)

Each package goes to `<folder>-<version>/`, so that an address never changes its content. `into = "tests"` is for what
tests alone need; it stays out of the wheel. What is `packed` lies there as gzip; the lock has the digest of the packed
file, and under `contents` of what npm gave.
"""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WISHES = ROOT / "tools" / "vendor.toml"
PLACES = {"page": ROOT / "src" / "domicile" / "web" / "static" / "vendor", "tests": ROOT / "tests" / "web" / "vendor"}
LOCK, LICENCES = "vendor.lock.json", "LICENSES.txt"


def wishes(place: str) -> list[dict[str, Any]]:
    """The packages of one of the places."""
    packages: list[dict[str, Any]] = tomllib.loads(WISHES.read_text("utf-8"))["package"]
    return [p for p in packages if p.get("into", "page") == place]


def folder_of(package: dict[str, Any]) -> str:
    return f"{package.get('folder', package['name'].rsplit('/', 1)[-1])}-{package['version']}"


def fetch(place: str) -> None:
    """Everything anew; what is no longer wished for goes."""
    root = PLACES[place]
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    locked, licences = [], []
    for package in wishes(place):
        with tempfile.TemporaryDirectory() as scratch:
            source, integrity = _unpacked(package, Path(scratch))
            told = json.loads((source / "package.json").read_text("utf-8"))
            files = _copied(package, source, root / folder_of(package))
            licences.append(f"{package['name']} {package['version']} ({told['license']})\n\n{_licence(source)}")
        locked.append(
            {
                "name": package["name"],
                "version": package["version"],
                "licence": told["license"],
                "integrity": integrity,
                "files": {f"{folder_of(package)}/{name}": _digest(root / folder_of(package) / name) for name in files},
            }
        )
        if package.get("packed"):
            locked[-1]["contents"] = {
                f"{folder_of(package)}/{name}": _digest(root / folder_of(package) / name, unpacked=True)
                for name in files
            }
        print(f"{package['name']} {package['version']}: {len(files)} files")
    (root / LOCK).write_text(json.dumps({"packages": locked}, indent=1) + "\n", "utf-8")
    (root / LICENCES).write_text(f"\n\n{'-' * 78}\n\n".join(licences) + "\n", "utf-8")


def _unpacked(package: dict[str, Any], scratch: Path) -> tuple[Path, str]:
    """The package's own folder, and npm's digest of its archive."""
    asked = ["npm", "pack", "--json", f"{package['name']}@{package['version']}"]
    said = subprocess.run(asked, cwd=scratch, check=True, stdout=subprocess.PIPE, text=True)
    told = json.loads(said.stdout)[0]
    with tarfile.open(next(scratch.glob("*.tgz"))) as archive:
        archive.extractall(scratch / "x", filter="data")
    return next((scratch / "x").iterdir()), told["integrity"]


def _copied(package: dict[str, Any], source: Path, target: Path) -> list[str]:
    """The names of the files that were copied, and edited where an edit is listed."""
    copied = []
    for pattern, name in package["files"].items():
        found = sorted(p for p in source.rglob("*") if fnmatch.fnmatch(p.relative_to(source).as_posix(), pattern))
        if not found:
            raise SystemExit(f"{package['name']}: no {pattern}")
        for path in found:
            to = f"{name}{path.name}" if name.endswith("/") else name
            (target / to).parent.mkdir(parents=True, exist_ok=True)
            content = _edited(path.read_bytes(), package.get("edits", {}).get(to, []))
            if package.get("packed"):
                to, content = f"{to}.gz", gzip.compress(content, 9, mtime=0)
            (target / to).write_bytes(content)
            copied.append(to)
    return copied


def _edited(content: bytes, edits: list[list[str]]) -> bytes:
    for old, new in edits:
        if content.count(old.encode()) != 1:
            raise SystemExit(f"an edit no longer applies: {old}")
        content = content.replace(old.encode(), new.encode())
    return content


def _licence(source: Path) -> str:
    found = sorted(p for p in source.iterdir() if p.name.upper().startswith(("LICENSE", "LICENCE")) and p.is_file())
    return "\n\n".join(p.read_text("utf-8").strip() for p in found[:1])


def _digest(path: Path, *, unpacked: bool = False) -> str:
    content = path.read_bytes()
    return hashlib.sha256(gzip.decompress(content) if unpacked else content).hexdigest()


def faults(place: str) -> list[str]:
    """What is missing, changed or in nobody's list."""
    root = PLACES[place]
    locked = json.loads((root / LOCK).read_text("utf-8"))["packages"]
    told = [f"{p['name']} {p['version']}" for p in locked]
    wished = [f"{p['name']} {p['version']}" for p in wishes(place)]
    found = [f"{one}: wished for, not locked" for one in wished if one not in told]
    found += [f"{one}: locked, not wished for" for one in told if one not in wished]
    files = {name: digest for package in locked for name, digest in package["files"].items()}
    contents = {name: digest for package in locked for name, digest in package.get("contents", {}).items()}
    for path in sorted(p for p in root.rglob("*") if p.is_file() and p.parent != root):
        name = path.relative_to(root).as_posix()
        if name not in files:
            found.append(f"{name}: not in the lock")
        elif files.pop(name) != _digest(path):
            found.append(f"{name}: not what the lock says")
        elif name in contents and contents[name] != _digest(path, unpacked=True):
            found.append(f"{name}: holds another file than the lock says")
    return found + [f"{name}: missing" for name in files]


def main() -> None:
    if "--check" in sys.argv[1:]:
        found = [fault for place in PLACES for fault in faults(place)]
        for fault in found:
            print(fault, file=sys.stderr)
        sys.exit(1 if found else 0)
    for place in PLACES:
        fetch(place)


if __name__ == "__main__":
    main()
