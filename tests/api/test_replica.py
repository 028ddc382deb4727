"""The private query against real servers: same answers, one checkpoint, nothing taken on trust."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pipeline.queries import search as query
from pipeline.queries.answering import answers
from pipeline.queries.audit import audit
from pipeline.queries.replicas import Access, ReplicaError, replicas
from pipeline.queries.transcript import recording
from stages.encrypt.keys.folder import OwnerKeys, load_owners, new_keys
from stages.encrypt.lwe.exchange import Scored, ScoreRequest, decode_request, encode_answers
from stages.encrypt.lwe.parameters import LWE32
from stages.encrypt.lwe.search import quantise_query, weight_words
from stages.index.reader import Reader, open_reader
from stages.index.store.manifest import Manifest
from tests.api.conftest import Serve, scripted
from tests.pipeline.queries.encrypted import append, unit_rows

BLOCKS = [6, 1, 4]
ASKED = unit_rows(6, 0)[2]


@dataclass(frozen=True)
class World:
    """One log: whole, grown, forked while growing, lying; the querier's copy has no segments."""

    folder: Path
    owners: dict[bytes, OwnerKeys]
    reader: Reader
    urls: dict[str, str]

    def search(
        self, one: str, other: str, *, access: Access = Access(), reader: Reader | None = None
    ) -> query.SearchResult:
        reader = reader or self.reader
        with replicas((one, other), reader, access) as source:
            return query.search(reader, self.owners, ASKED, 5, source)


def lie(index: Path) -> None:
    """Change one word of record 3 and write the manifest anew, so that the replica's own check passes."""
    reader = open_reader(index)
    extent = Manifest(index, reader.size)[0]
    data = bytearray((index / extent.file).read_bytes())
    data[data.index(reader.record(3).column_D.tobytes())] ^= 1
    (index / extent.file).write_bytes(data)
    row = replace(extent, digest=sha256(data[extent.offset : extent.end]).digest()).encode()
    manifest = index / "segments" / "manifest"
    manifest.write_bytes(row + manifest.read_bytes()[len(row) :])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, serve: Serve, replica: Serve) -> World:
    folder = tmp_path_factory.mktemp("world")
    new_keys(folder / "keys", None)
    append(folder / "whole", folder / "keys", BLOCKS)
    for name, seed in (("grown", 50), ("forked", 60)):
        shutil.copytree(folder / "whole", folder / name)
        append(folder / name, folder / "keys", [3], seed=seed)
    shutil.copytree(folder / "whole", folder / "lying")
    lie(folder / "lying")
    shutil.copytree(folder / "whole", folder / "querier", ignore=shutil.ignore_patterns("*.arrows"))
    urls = {name: replica(folder / name) for name in ("grown", "forked", "lying")}
    urls["whole"] = serve(folder / "whole")
    return World(folder, load_owners(folder / "keys", None), open_reader(folder / "querier"), urls)


def test_the_private_search_finds_what_the_direct_one_does(world: World) -> None:
    """Keys, order, scores and proofs are the same, from a copy of the log without ciphertexts."""
    direct = query.search(open_reader(world.folder / "whole"), world.owners, ASKED, 5)
    private = world.search(world.urls["whole"], world.urls["grown"])
    assert private == direct
    assert private.hits[0].index == 2
    assert all(hit.proof_ok for hit in private.hits)


def test_replicas_of_two_states_of_the_log_are_refused(world: World) -> None:
    """Equal sizes and different roots: both are named."""
    with pytest.raises(ReplicaError, match="hold different logs") as caught:
        world.search(world.urls["grown"], world.urls["forked"])
    assert world.urls["grown"] in str(caught.value)
    assert world.urls["forked"] in str(caught.value)


def test_a_replica_that_lies_behind_is_refused(world: World) -> None:
    """The querier's log is longer than the replica's."""
    with pytest.raises(ReplicaError, match="bring the replica up to date"):
        world.search(world.urls["whole"], world.urls["grown"], reader=open_reader(world.folder / "grown"))


def test_a_replica_of_another_log_is_refused(world: World, tmp_path: Path) -> None:
    """Its checkpoint is not signed by the querier's log."""
    append(tmp_path / "other", world.folder / "keys", [2])
    other = open_reader(tmp_path / "other").checkpoint
    with scripted(other, bytes) as url, pytest.raises(ReplicaError, match="no replica of the log here"):
        world.search(world.urls["whole"], url)


def test_a_replica_answers_for_no_checkpoint_it_never_had(world: World) -> None:
    """409 for another root, a size between blocks, and one it has not reached; 400 for no question."""
    words_D = weight_words(quantise_query(ASKED), LWE32)
    for size, root in ((11, bytes(32)), (3, bytes(32)), (99, world.reader.root)):
        question = ScoreRequest(LWE32, size, root, words_D).encode()
        refused = httpx.post(f"{world.urls['whole']}/score", content=question)
        assert (refused.status_code, "never was at the" in refused.text) == (409, True)
    assert httpx.post(f"{world.urls['whole']}/score", content=b"hello").status_code == 400
    assert httpx.post(f"{world.urls['whole']}/score", content=bytes(1 << 20)).status_code == 413


def test_a_replica_that_cannot_read_its_index_says_so(world: World, tmp_path: Path, replica: Serve) -> None:
    """500 with the reason, to a querier who can tell its operator."""
    index = shutil.copytree(world.folder / "whole", tmp_path / "index")
    url = replica(index)
    (index / "checkpoint").unlink()
    failed = httpx.get(f"{url}/checkpoint")
    assert failed.status_code == 500
    assert failed.text.startswith("the replica cannot read its index: ")
    assert "checkpoint" in failed.text


def test_a_lying_replica_is_caught_by_an_audit(world: World, tmp_path: Path) -> None:
    """The search cannot tell; recomputing the block names the replica, and the honest one passes."""
    urls = (world.urls["whole"], world.urls["lying"])
    with (
        recording(tmp_path / "answers", world.reader.checkpoint) as transcript,
        replicas(urls, world.reader, Access(), transcript) as source,
    ):
        query.search(world.reader, world.owners, ASKED, 5, source)
    whole = world.folder / "whole"
    done = audit(whole, open_reader(whole), tmp_path / "answers", 3)
    (wrong,) = done.errors
    assert (wrong.party, wrong.first_index, done.audited) == (world.urls["lying"], 0, 3)
    assert "scores" in wrong.reason


Damage = Callable[[bytes], bytes]


def honest(world: World, data: bytes) -> tuple[ScoreRequest, list[Scored]]:
    question = decode_request(data)
    return question, list(answers(open_reader(world.folder / "whole"), question))


def without_last(world: World, data: bytes) -> bytes:
    question, blocks = honest(world, data)
    return b"".join(encode_answers(question.parameters, blocks[:-1]))


def once_more(world: World, data: bytes) -> bytes:
    question, blocks = honest(world, data)
    return b"".join(encode_answers(question.parameters, [*blocks, blocks[-1]]))


def others_header(world: World, data: bytes) -> bytes:
    question, blocks = honest(world, data)
    changed = [replace(blocks[0], header=blocks[1].header, answer=None), *blocks[1:]]
    return b"".join(encode_answers(question.parameters, changed))


def flipped(world: World, data: bytes) -> bytes:
    question, blocks = honest(world, data)
    stream = bytearray(b"".join(encode_answers(question.parameters, blocks)))
    stream[-100] ^= 1
    return bytes(stream)


DAMAGE = {
    "answered about different records from 7 on": without_last,
    "answered about different records from 11 on": once_more,
    "answered about different blocks from record 0 on": others_header,
    "gave a damaged answer": flipped,
    "is cut short": lambda world, data: flipped(world, data)[:500],
}


@pytest.mark.parametrize("sentence", DAMAGE)
def test_wrong_and_short_answers_name_the_replica(world: World, sentence: str) -> None:
    """Each is one sentence with the URL; none becomes a score."""
    with (
        scripted(world.reader.checkpoint, lambda data: DAMAGE[sentence](world, data)) as url,
        pytest.raises(ReplicaError, match=sentence) as caught,
    ):
        world.search(world.urls["whole"], url)
    assert url in str(caught.value)


def middle_left_out(world: World, data: bytes) -> bytes:
    question, blocks = honest(world, data)
    return b"".join(encode_answers(question.parameters, [blocks[0], blocks[2]]))


def backwards(world: World, data: bytes) -> bytes:
    question, blocks = honest(world, data)
    return b"".join(encode_answers(question.parameters, blocks[::-1]))


CONSPIRACIES = {
    "leave out 1 records, from 6 on": middle_left_out,
    "leave out 4 records, from 7 on": without_last,
    "records that the log does not have there": once_more,
    "leave out 7 records, from 0 on": backwards,
}


@pytest.mark.parametrize("sentence", CONSPIRACIES)
def test_two_replicas_that_agree_cannot_hide_records(world: World, sentence: str) -> None:
    """The querier's own log says which records there must be."""
    with (
        scripted(world.reader.checkpoint, lambda data: CONSPIRACIES[sentence](world, data)) as one,
        scripted(world.reader.checkpoint, lambda data: CONSPIRACIES[sentence](world, data)) as other,
        pytest.raises(ReplicaError, match=sentence),
    ):
        world.search(one, other)


def test_a_broken_connection_names_the_replica(world: World) -> None:
    """The server promised more bytes than came."""
    with (
        scripted(world.reader.checkpoint, lambda data: flipped(world, data)[:200], claimed=1000) as url,
        pytest.raises(ReplicaError, match=f"{url} gave an answer that is cut short"),
    ):
        world.search(world.urls["whole"], url)


@contextmanager
def silent() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_silence_and_absence_name_the_replica(world: World) -> None:
    """A time-out and a refused connection are one sentence each."""
    hasty = Access(wait_s=0.3)
    with silent() as url, pytest.raises(ReplicaError, match=f"{url} did not answer in time"):
        world.search(world.urls["whole"], url, access=hasty)
    with pytest.raises(ReplicaError, match=f"{url} cannot be reached"):
        world.search(world.urls["whole"], url)


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ("", "named twice"),
        ("http://192.0.2.1:8000", "use https"),
        ("ftp://127.0.0.1", "no address of a replica"),
        ("replica", "no address of a replica"),
    ],
)
def test_unsafe_addresses_are_refused_before_anything_is_sent(
    world: World, other: str, sentence: str
) -> None:
    """One server with both shares, or a wire that others hear, would give the query away."""
    with pytest.raises(ReplicaError, match=sentence):
        world.search(world.urls["whole"], other or world.urls["whole"] + "/")


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for the loopback address, and its key."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "replica")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, None)
    )
    (folder / "tls.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "tls.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "tls.pem", folder / "tls.key"


def test_a_replica_behind_tls_and_a_token(world: World, tmp_path: Path, serve: Serve) -> None:
    """With the authority and the token it answers; without either, or with another token, it does not."""
    pem, key = certificate(tmp_path)
    options = ("--certificate", pem, "--certificate-key", key)
    url = serve(world.folder / "whole", *options, env={"MEDSECURE_TOKEN": "secret"})
    assert url.startswith("https://")
    found = world.search(url, world.urls["grown"], access=Access("secret", pem))
    assert found == world.search(world.urls["whole"], world.urls["grown"])
    for shown in (None, "Secret", "secre", "secret2"):
        with pytest.raises(ReplicaError, match=r"refuses \(401\): show the token: set MEDSECURE_TOKEN"):
            world.search(url, world.urls["grown"], access=Access(shown, pem))
    with pytest.raises(ReplicaError, match="cannot be reached"):
        world.search(url, world.urls["grown"], access=Access("secret"))
    with pytest.raises(ReplicaError, match="holds no certificate"):
        world.search(url, world.urls["grown"], access=Access("secret", key))
