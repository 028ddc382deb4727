"""A dead-letter store as a new job: the same request, over the files that have letters."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline import dead_letters
from pipeline.config import load
from pipeline.desk import Job
from pipeline.job import JobError


def replayed(results: Path) -> Job:
    """The job that repeats a results folder's dead letters; letters of files that have gone are kept.

    Raises JobError where there is nothing to repeat or the folder does not say how it was run.
    """
    paths = sorted({Path(letter.path) for letter in dead_letters.read(results)})
    there = tuple(path for path in paths if path.exists())
    if not there:
        raise JobError(
            f"{results} has no dead letters" if not paths else "none of the rejected files is there"
        )
    try:
        request = json.loads((results / "job.json").read_text())
        settings = load(None, request["settings"])
        index, keys = Path(request["index"]), Path(request["keys"])
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise JobError(f"{results}/job.json does not say how this folder was run") from error
    return Job(there, index, results, keys, settings)
