"""A dead-letter store as a new job: the same request, over the files that have letters."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.config import load
from pipeline.run import dead_letters
from pipeline.run.job import Job, JobError
from stages.ingest.sources.opening import location


def replayed(results: Path) -> Job:
    """The job that repeats a results folder's dead letters; letters of files that have gone are kept.

    A rejected slice is read again with the files beside it, where its folder was a source: results are
    delivered by series, and one slice alone would replace those of its whole series.

    Raises JobError where there is nothing to repeat or the folder does not state how it was run.
    """
    paths = {Path(letter.path) for letter in dead_letters.read(results)}
    there = {path for path in paths if path.exists()}
    if not there:
        reason = "none of its rejected files is there any more" if paths else "it has no dead letters"
        raise JobError(f"no dead letter of {results} can be run again: {reason}")
    try:
        request = json.loads((results / "job.json").read_text())
        settings = load(None, request["settings"])
        index, keys = Path(request["index"]), Path(request["keys"])
        sources = set(map(location, request["sources"]))
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise JobError(f"{results}/job.json does not say how this folder was run") from error
    again = {file for path in there for file in ([path] if path in sources else _beside(path))}
    return Job(tuple(map(str, sorted(again))), index, results, keys, settings, replay=True)


def _beside(path: Path) -> list[Path]:
    return [file for file in path.parent.iterdir() if file.is_file()]
