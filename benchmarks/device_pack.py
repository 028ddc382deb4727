"""Makes what travels beside the source tree to a machine with an accelerator and without network.

    python -m benchmarks.device_pack [--data ../shared/data] [--out .device]

For ``benchmarks.device checks`` the packages that such a machine lacks, Ray among them without what a run
never loads; for ``train`` fewer of them, and the training set as prepared 8-bit levels. Git ignores it:
the set may not be redistributed. Prints the sizes, which must stay within 64 MiB with the source tree.
"""

from __future__ import annotations

import argparse
import json
import lzma
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from benchmarks import device_needs as needs

MOST_BYTES: Final = 64 << 20
PYTHON: Final = "3.12"
# pip matches a platform exactly, and each wheel names one.
PLATFORMS: Final = (
    "any",
    *(f"manylinux{name}_x86_64" for name in ("1", "2010", "2014")),
    *(f"manylinux_2_{minor}_x86_64" for minor in (5, 12, 17, 24, 27, 28, 31, 34, 35, 39)),
)
# A run loads none of it: Java, libraries on top of Ray, the dashboard's pages, codecs but JPEG's, tests.
STRIPPED: Final = re.compile(
    r"ray/(jars|rllib|serve|tune|train|llm|data|air|autoscaler/(aws|azure|gcp|kuberay|spark|vsphere|aliyun)"
    r"|dashboard/client|core/libjemalloc\.so)/?.*"
    r"|imagecodecs/(?!_(jpeg8|shared)\w*\.abi3\.so)\w+\.abi3\.so"
    r"|imagecodecs\.libs/(?!libjpeg-).*"
    r"|(nibabel|pydicom|highdicom)/(.*/)?(tests|benchmarks|test_files)/.*|pydicom/data/(palettes|charset_files)/.*"
    r"|.*\.(pyi|pyx|pxd|h|map)"
)


def main() -> None:
    """Make both folders and print their sizes; exit code 1 where one is too large to travel."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=needs.ROOT / ".device")
    parser.add_argument("--data", type=Path, default=needs.ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    tree = tree_bytes()
    fits = True
    with tempfile.TemporaryDirectory() as folder:
        wheels = download(Path(folder))
        for mode in needs.MODES:
            size = make(mode, wheels, arguments.out / mode, arguments.data)
            fits &= size + tree <= MOST_BYTES
            print(
                f"{arguments.out / mode}: {size / 2**20:.1f} MiB, with the tree {(size + tree) / 2**20:.1f}"
            )
    if not fits:
        sys.exit(f"more than {MOST_BYTES >> 20} MiB do not travel")


def tree_bytes() -> int:
    """Of the files that git tracks, and of those that it neither tracks nor ignores."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=needs.ROOT, capture_output=True, text=True, check=True).stdout
    paths = [needs.ROOT / name for name in listed.split("\0") if name]
    return sum(path.stat().st_size for path in paths if path.is_file())


def pinned(constraints: Path = needs.ROOT / "constraints.txt") -> list[str]:
    """Every distribution of the pack at the version of the constraints. Raises KeyError without one."""
    versions = {
        line.split("==")[0].lower().replace("_", "-"): line.split("==")[1]
        for line in constraints.read_text().splitlines()
        if re.fullmatch(r"[\w.-]+==[\w.!+-]+", line)
    }
    return [f"{name}=={versions[name.lower().replace('_', '-')]}" for name in needs.MODULES.values()]


def download(folder: Path) -> dict[str, Path]:
    """The wheels by distribution."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    target = ["--python-version", PYTHON, "--implementation", "cp", "--dest", str(folder)]
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    subprocess.run([*command, *target, *platforms, *pinned()], check=True)
    found = {path.name.split("-")[0].lower().replace("_", "-"): path for path in folder.glob("*.whl")}
    return {name: found[name.lower().replace("_", "-")] for name in needs.MODULES.values()}


def make(mode: str, wheels: dict[str, Path], out: Path, data: Path) -> int:
    """One mode's folder; its bytes."""
    out.mkdir(parents=True, exist_ok=True)
    modules = needs.modules(mode)
    archive([wheels[needs.MODULES[one]] for one in modules], out / needs.ARCHIVE)
    files = [needs.ARCHIVE]
    if mode == "train":
        from benchmarks import device_set  # noqa: PLC0415  # torch takes seconds

        (out / needs.SET).write_bytes(lzma.compress(device_set.packed(data), preset=6))
        files.append(needs.SET)
    digests = {name: needs.digest(out / name) for name in files}
    (out / needs.MANIFEST).write_text(json.dumps({"modules": modules, "files": digests}, indent=2))
    return sum(path.stat().st_size for path in out.iterdir())


def archive(wheels: list[Path], out: Path) -> None:
    """What the wheels install, without what is stripped, as one archive."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(out, "w:xz", preset=6) as tar:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as opened:
                for member in opened.infolist():
                    if not member.is_dir() and not STRIPPED.fullmatch(member.filename):
                        opened.extract(member, folder)
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                if path.parent.name in {"raylet", "gcs"}:  # programs: a wheel keeps no mode
                    path.chmod(0o755)
                tar.add(path, path.relative_to(folder).as_posix())


if __name__ == "__main__":
    main()
