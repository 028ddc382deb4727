"""``medsecure index sum`` and ``mean``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.console import Directory, Json, emit, show
from pipeline.cli.search import Secret, open_owners
from pipeline.queries.cohort import CohortError, CohortSum, cohort_sum
from stages.index.log.leaf import KEY_BYTES
from stages.index.reader import open_reader

KeyList = Annotated[
    Path | None, typer.Option("--keys", help="A file with one hexadecimal key a line; - for stdin.")
]
Keys = Annotated[list[str] | None, typer.Option("--key", help="One key, hexadecimal; may be repeated.")]


def total(
    directory: Directory, secret: Secret, keys: KeyList = None, key: Keys = None, as_json: Json = False
) -> None:
    """Add up the feature vectors of some records, as ciphertexts; only the sum is opened.

    Example: medsecure index sum index/ --secret keys/ --keys cohort.txt
    """
    found = cohort_sum(open_reader(directory), open_owners(secret), _wanted(keys, key))
    _tell("sum", found, found.sum_D, found.noise_sd, as_json)


def mean(
    directory: Directory, secret: Secret, keys: KeyList = None, key: Keys = None, as_json: Json = False
) -> None:
    """The mean of the feature vectors of some records; only their sum is opened.

    Example: medsecure index mean index/ --secret keys/ --keys cohort.txt
    """
    found = cohort_sum(open_reader(directory), open_owners(secret), _wanted(keys, key))
    _tell("mean", found, found.mean, found.noise_sd / found.records, as_json)


def _wanted(file: Path | None, given: list[str] | None) -> list[bytes]:
    """All keys, from the file and the command line."""
    lines = [(one, "--key") for one in given or []]
    if file is not None:
        try:
            text = sys.stdin.read() if str(file) == "-" else file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise CohortError(f"{file} cannot be read as a list of keys") from error
        lines += [(line, f"{file}, line {number}") for number, line in enumerate(text.splitlines(), start=1)]
    return [_key(line.strip(), where) for line, where in lines if line.strip()]


def _key(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise CohortError(f"{where}: {text[:80]!r} is no key: keys are {2 * KEY_BYTES} hexadecimal digits")
    return key


def _tell(what: str, found: CohortSum, vector_D: Any, noise_sd: float, as_json: bool) -> None:
    facts = {
        "records": found.records,
        "exact": found.exact,
        "noise_sd": noise_sd,
        "answers": found.answers,
        "key_ids": list(found.key_ids),
    }
    if as_json:
        emit({**facts, what: [round(value, 9) for value in vector_D.tolist()]})
        return
    how = "exact" if found.exact else f"approximate: noise of standard deviation {noise_sd:.2g} a component"
    typer.echo(f"{what} of {found.records:,} records ({how}), {found.answers} partial sums opened")
    show("", ("feature", what), list(enumerate(vector_D.tolist())))
