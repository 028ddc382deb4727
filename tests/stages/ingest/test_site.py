from __future__ import annotations

import hmac
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.ingest.site import Site, TicketError
from stages.places import FileKind, Place

SITE = Site(bytes(range(32)))
PLACES = st.builds(Place, st.text(min_size=1), st.integers(0, 2**40), st.sampled_from(FileKind))


def test_a_key_is_the_hmac_that_the_module_describes() -> None:
    """HMAC-SHA-256 over domain, frame number and UID: keys outlive this program's versions."""
    message = b"MedSecure-U key uid v1\0" + (7).to_bytes(8, "big") + b"1.2.3"
    assert SITE.key("1.2.3", 7) == hmac.digest(bytes(range(32)), message, "sha256")


@given(st.text(max_size=20), st.text(max_size=20), st.integers(0, 300), st.integers(0, 300))
def test_keys_differ_where_the_frames_do(one: str, other: str, i: int, j: int) -> None:
    """UID and frame number are never confused."""
    assert (SITE.key(one, i) == SITE.key(other, j)) == ((one, i) == (other, j))


def test_no_two_kinds_of_pseudonym_meet() -> None:
    """The same bytes as UID, content, path, series and group give five pseudonyms."""
    same = "1" * 32
    made = {
        SITE.key(same, 0),
        SITE.content_key(same.encode(), 0),
        SITE.path_key(same),
        SITE.series(same),
        SITE.group(b"", same),
    }
    assert len(made) == 5


def test_another_site_gives_other_pseudonyms() -> None:
    """Without the secret a key says nothing of the UID."""
    assert Site(bytes(32)).key("1.2.3", 0) != SITE.key("1.2.3", 0)


def test_a_secret_of_the_wrong_length_is_refused() -> None:
    """32 bytes, neither less nor more."""
    with pytest.raises(ValueError, match="32 bytes, this one has 31"):
        Site(bytes(31))


@given(PLACES)
def test_a_ticket_opens_to_its_place(place: Place) -> None:
    """Whatever the path is called."""
    key = SITE.key("1.2.3", 0)
    assert SITE.open_ticket(SITE.seal_ticket(place, key), key) == place


def test_a_path_that_is_no_text_survives_the_ticket() -> None:
    """File names are bytes; those that are no UTF-8 are carried as the system gives them."""
    place, key = Place(os.fsdecode(b"/scans/\xff\xfe.dcm"), 0, FileKind.DICOM), SITE.path_key("x")
    assert SITE.open_ticket(SITE.seal_ticket(place, key), key) == place


def test_a_ticket_shows_nothing_of_its_place() -> None:
    """Neither the path nor, by repetition, that two rows are of one file."""
    place, key = Place("/scans/Mustermann.dcm", 0, FileKind.DICOM), SITE.key("1", 0)
    first, second = SITE.seal_ticket(place, key), SITE.seal_ticket(place, key)
    assert b"Mustermann" not in first
    assert first != second


@pytest.mark.parametrize("damage", ["other row", "other site", "flipped", "cut", "empty"])
def test_a_ticket_out_of_place_does_not_open(damage: str) -> None:
    """It is bound to its row and site, and authenticated."""
    key = SITE.key("1.2.3", 0)
    ticket = SITE.seal_ticket(Place("/a", 0, FileKind.DICOM), key)
    site = Site(bytes(32)) if damage == "other site" else SITE
    row = SITE.key("1.2.3", 1) if damage == "other row" else key
    flipped = ticket[:-1] + bytes([ticket[-1] ^ 1])
    tickets = {"flipped": flipped, "cut": ticket[:20], "empty": b""}
    with pytest.raises(TicketError, match="does not open"):
        site.open_ticket(tickets.get(damage, ticket), row)
