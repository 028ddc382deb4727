"""``ray job submit --working-dir .`` from the folder where an operator works, beside keys and results.

Ray packs the working directory, stores it unencrypted with the cluster's head and unpacks it on every node.
With the keys of the README in it, ``owner.key`` went to the machines that must not decrypt.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env import packaging

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ("actors", "api", "cluster", "dashboards", "evaluation", "pipeline", "stages", "training")
SECRETS = (
    "keys/owner/owner.key",
    "keys/owner/retired/00ff.key",
    "keys/site/site.key",
    "keys/site/worker.key",
    "hospital/owner/owner.key",  # no name of a folder is relied on
    "owner.key",
    "index/signing.key",
    "index/segments/000000.arrows",
    "witness.key",
    "server.pem",
    "results/1a2b/seg.dcm",
    "study/patient-1/0001.dcm",
    "passphrase.txt",
    ".env",
    "stages/encrypt/keys/worker.key",  # even among the code
)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """The source tree with an operator's files in it."""
    desk = tmp_path / "desk"
    desk.mkdir()
    for name in PROGRAM:
        shutil.copytree(
            ROOT / name, desk / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors")
        )
    for name in ("run_pipeline.py", ".rayignore", ".gitignore", "pyproject.toml"):
        shutil.copy(ROOT / name, desk / name)
    for name in SECRETS:
        (desk / name).parent.mkdir(parents=True, exist_ok=True)
        (desk / name).write_bytes(b"secret")
    return desk


def packed(desk: Path, out: Path, *, honour_gitignore: bool, excludes: Sequence[str] = ()) -> set[str]:
    """What Ray's own packer, as ``ray job submit`` calls it, puts into the package."""
    packaging.create_package(
        str(desk),
        out,
        include_gitignore=honour_gitignore,
        excludes=[*get_runtime_env_default_excludes(), *excludes],
    )
    with zipfile.ZipFile(out) as package:
        return set(package.namelist())


@pytest.mark.parametrize("honour_gitignore", [True, False])
def test_the_package_holds_the_program_and_nothing_beside_it(
    desk: Path, tmp_path: Path, *, honour_gitignore: bool
) -> None:
    """No key, no image, no result, whatever the folders are called and whether or not git is asked."""
    found = packed(desk, tmp_path / "package.zip", honour_gitignore=honour_gitignore)
    assert not found & set(SECRETS)
    assert {Path(name).parts[0] for name in found} == {*PROGRAM, "run_pipeline.py", "pyproject.toml"}


@pytest.mark.parametrize("page", ["README.md", "docs/operators.md"])
def test_a_tree_that_lost_its_hidden_files_sends_no_key(desk: Path, tmp_path: Path, page: str) -> None:
    """``cp -r tree/* here`` leaves them out; the recipe's own excludes hold back what opens anything."""
    (given,) = re.findall(r"ray job submit [^`]*--runtime-env-json '([^']+)'", (ROOT / page).read_text())
    for name in (".rayignore", ".gitignore"):
        (desk / name).unlink()
    found = packed(
        desk, tmp_path / "package.zip", honour_gitignore=True, excludes=json.loads(given)["excludes"]
    )
    assert "run_pipeline.py" in found
    assert not {name for name in found if name.endswith((".key", ".pem"))}


def test_the_package_runs(desk: Path, tmp_path: Path) -> None:
    """Every module and every data file of the program is in it."""
    found = packed(desk, tmp_path / "package.zip", honour_gitignore=True)
    for name in PROGRAM:
        files = (file.relative_to(desk) for file in (desk / name).rglob("*") if file.is_file())
        assert {str(file) for file in files} - set(SECRETS) <= found
    assert "run_pipeline.py" in found
