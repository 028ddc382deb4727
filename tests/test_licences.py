"""An Apache-2.0 project may not need GPL code to run: what each default dependency says of itself.

Read from the installed metadata. A long ``License`` text is not read: it is the list of what a wheel
bundles, and a classifier or an expression stands beside it.
"""

from __future__ import annotations

import re
import tomllib
from email.message import Message
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
PERMISSIVE = {
    *("0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0"),
    *("CC0-1.0", "ISC", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "Zlib"),
}
# Copyleft that ends at the file or the library; each package that has it is accepted by name.
WEAK = re.compile(r"LGPL|MPL")
WEAK_ACCEPTED = {"certifi": "MPL-2.0: a list of certificates, used as it comes"}
CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
SPELLINGS = {"3-Clause BSD License": "BSD-3-Clause", "Apache 2.0": "Apache-2.0"}
# The CUDA wheel of torch asks for NVIDIA's own libraries, under NVIDIA's licence; the CPU wheel does not.
NVIDIA = re.compile(r"nvidia-|cuda-")


def licence(metadata: Message) -> str:
    """What the package says of itself, as an SPDX expression where that is known."""
    if metadata["License-Expression"]:
        return str(metadata["License-Expression"])
    found = [line.split(" :: ")[-1] for line in metadata.get_all("Classifier", []) if "License ::" in line]
    if found:
        return " AND ".join(CLASSIFIERS.get(name, name) for name in found)
    text = str(metadata["License"] or "")
    return SPELLINGS.get(text, text)


def accepted(name: str, expression: str) -> bool:
    """Whether one of the alternatives asks for nothing but what is listed here."""
    return any(
        all(
            term in PERMISSIVE or (WEAK.match(term) and name in WEAK_ACCEPTED)
            for term in choice.split(" AND ")
        )
        for choice in expression.split(" OR ")
    )


def needed() -> dict[str, Message]:
    """The metadata of all default dependencies, theirs included; extras only where they are asked for."""
    found: dict[str, Message] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(line) for line in PROJECT["dependencies"]]
    while waiting:
        wanted = waiting.pop()
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        for extra in {"", *wanted.extras} - {extra for seen_name, extra in seen if seen_name == name}:
            seen.add((name, extra))
            package = distribution(name)
            found[name] = package.metadata
            for line in package.requires or ():
                theirs = Requirement(line)
                if theirs.marker is None or theirs.marker.evaluate({"extra": extra}):
                    waiting.append(theirs)
    return found


def test_no_default_dependency_is_under_the_gpl_or_an_unknown_licence() -> None:
    """Whoever installs the project without extras gets permissive code, and weak copyleft by name."""
    packages = {name: metadata for name, metadata in needed().items() if not NVIDIA.match(name)}
    assert {"imagecodecs", "torch", "aiohttp", "frozenlist"} <= packages.keys()  # the last two through ray
    said = {name: licence(metadata) for name, metadata in packages.items()}
    assert {name: one for name, one in said.items() if not accepted(name, one)} == {}
    assert WEAK_ACCEPTED.keys() <= packages.keys()


def test_the_gpl_decoder_comes_only_with_an_extra_that_says_so() -> None:
    """Its name holds the licence."""
    extras = PROJECT["optional-dependencies"]
    assert [name for name, lines in extras.items() if "libjpeg" in str(lines)] == ["gpl-jpeg"]


def metadata(**fields: str) -> Message:
    made = Message()
    for name, value in fields.items():
        made[name.replace("_", "-")] = value
    return made


@pytest.mark.parametrize(
    ("said", "well"),
    [
        (metadata(License_Expression="MIT"), True),
        (metadata(License_Expression="Apache-2.0 OR GPL-3.0-only"), True),
        (metadata(License_Expression="Apache-2.0 AND GPL-3.0-only"), False),
        (metadata(License_Expression="AGPL-3.0-or-later"), False),
        (metadata(License_Expression="LGPL-2.1-or-later"), False),
        (metadata(Classifier="License :: OSI Approved :: BSD License", License="many pages"), True),
        (metadata(Classifier="License :: OSI Approved :: GNU General Public License v3 (GPLv3)"), False),
        (metadata(License="Apache 2.0"), True),
        (metadata(License="GPL V3.0"), False),
        (metadata(License="as it pleases"), False),
        (metadata(), False),
    ],
)
def test_a_licence_is_accepted_only_where_it_is_listed(said: Message, well: bool) -> None:
    """Expressions, classifiers and free text; silence is unknown."""
    assert accepted("package", licence(said)) is well


def test_weak_copyleft_is_accepted_by_name() -> None:
    """Of a package that is listed with its reason, and no other."""
    assert accepted("certifi", "MPL-2.0")
    assert not accepted("other", "MPL-2.0")
