from __future__ import annotations

from pathlib import Path

import pytest

from stages.encrypt.keys.folder import new_keys
from stages.ingest.options import IngestOptions
from stages.ingest.site import Site


@pytest.fixture
def site() -> Site:
    return Site(bytes(range(32)))


@pytest.fixture
def options() -> IngestOptions:
    return IngestOptions()


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ingest") / "keys"
    new_keys(folder, None)
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = (Path(__file__).resolve().parents[4] / "shared" / "data").resolve()
    if not folder.is_dir():
        pytest.skip("the development data is not there; it is not redistributable")
    return folder
