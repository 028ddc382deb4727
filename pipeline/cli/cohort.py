"""``medsecure index sum`` and ``mean``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.console import Directory, Json, PassphraseFile, emit, parse_record_id, show
from pipeline.cli.search import Secret, open_owners
from stages.errors import OperatorError

if TYPE_CHECKING:
    from pipeline.queries.cohort import CohortSum

RecordFile = Annotated[
    Path | None, typer.Option("--records", help="A file with one record id per line; - for stdin.")
]
RecordIds = Annotated[list[str] | None, typer.Option("--record", help="One record id; may be repeated.")]
# the names of 0.1 before a record id had a word of its own; they stay until 1.0
OldFile = Annotated[Path | None, typer.Option("--keys", hidden=True)]
OldIds = Annotated[list[str] | None, typer.Option("--key", hidden=True)]


def total(
    directory: Directory,
    secret: Secret,
    records: RecordFile = None,
    record: RecordIds = None,
    keys: OldFile = None,
    key: OldIds = None,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Add up the feature vectors of some records as ciphertexts; only the sum is decrypted.

    Example: medsecure index sum index/ --secret keys/owner --records cohort.txt
    """
    from pipeline.queries.cohort import cohort_sum
    from stages.index.reader import open_reader

    wanted = _wanted((records, keys), (*(record or ()), *(key or ())))
    found = cohort_sum(open_reader(directory), open_owners(secret, passphrase_file), wanted)
    _tell("sum", found, found.sum_D, found.noise_sd, as_json)


def mean(
    directory: Directory,
    secret: Secret,
    records: RecordFile = None,
    record: RecordIds = None,
    keys: OldFile = None,
    key: OldIds = None,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Compute the mean of the feature vectors of some records; only their sum is decrypted.

    Example: medsecure index mean index/ --secret keys/owner --records cohort.txt
    """
    from pipeline.queries.cohort import cohort_sum
    from stages.index.reader import open_reader

    wanted = _wanted((records, keys), (*(record or ()), *(key or ())))
    found = cohort_sum(open_reader(directory), open_owners(secret, passphrase_file), wanted)
    _tell("mean", found, found.mean, found.noise_sd / found.records, as_json)


def _wanted(files: Iterable[Path | None], given: Iterable[str]) -> list[bytes]:
    """All record ids, from files and the command line."""
    from pipeline.queries.cohort import CohortError

    lines = [(one, "--record") for one in given]
    for file in files:
        if file is None:
            continue
        try:
            text = sys.stdin.read() if str(file) == "-" else file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise CohortError(f"{file} cannot be read as a list of record ids") from error
        lines += [(line, f"{file}, line {number}") for number, line in enumerate(text.splitlines(), start=1)]
    return [_record_id(line.strip(), where) for line, where in lines if line.strip()]


def _record_id(text: str, where: str) -> bytes:
    from pipeline.queries.cohort import CohortError

    try:
        return parse_record_id(text)
    except OperatorError as error:
        raise CohortError(f"{where}: {error}") from error


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
    typer.echo(f"{what} of {found.records:,} records ({how}), {found.answers} partial sums decrypted")
    show("", ("feature", what), list(enumerate(vector_D.tolist())))
