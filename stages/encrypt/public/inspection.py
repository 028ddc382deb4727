"""What a block must be to enter a site's index, beside being signed: one that the owner can open and search.

A worker's signature says who made a block, not that it is one. A stolen key, or a worker of another version,
could sign bytes that no search can read, or numbers of another scale, which would rank above all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stages.base import Reason
from stages.batches import Sealed
from stages.encrypt.lwe.errors import LweError
from stages.encrypt.lwe.quantise import scale_for
from stages.encrypt.lwe.wire import check_block, decode_header
from stages.encrypt.public.pin import read_bundle

_ID_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class NotTaken:
    """Why a block is not taken: a reason for counting, a sentence for people."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Demands:
    """What every block of a site has in common."""

    parameters: str
    key_id: bytes
    dimensions: int  # D, of the model whose features are indexed

    def refusal(self, block: Sealed) -> NotTaken | None:
        """Why this block is not taken; None where it is what a worker of this site makes."""
        try:
            header = decode_header(block.header)
        except LweError as error:
            return _damaged(str(error))
        if (header.parameters.name, header.key_id) != (self.parameters, self.key_id):
            return NotTaken(
                Reason.FOREIGN,
                f"The block is under key {header.key_id.hex()[:16]} and {header.parameters.name}, the bundle "
                f"names key {self.key_id.hex()[:16]} and {self.parameters}.",
            )
        wanted = (self.dimensions, scale_for(header.parameters, self.dimensions), 1, len(block))
        stated = (header.dimensions, header.scale, header.terms, header.count)
        if stated != wanted:
            return _damaged(
                "its header states {} features, scale {}, {} terms and {} records".format(*stated)
                + ", where {}, {}, {} and {} are demanded".format(*wanted)
            )
        try:
            check_block(header, block.head_Dn, block.columns_ND)
        except LweError as error:
            return _damaged(str(error))
        if any(len(record_id) != _ID_BYTES for record_id in block.keys):
            return _damaged(f"a record id does not have {_ID_BYTES} bytes")
        return None


def _damaged(why: str) -> NotTaken:
    return NotTaken(Reason.DAMAGED, f"The block was signed, and no search could read it: {why}.")


def load_demands(directory: Path, dimensions: int) -> Demands:
    """What the bundle of a site's folder demands of blocks with so many features. Raises KeyFileError."""
    contents = read_bundle(directory).contents
    return Demands(contents.parameters, bytes.fromhex(contents.key_id), dimensions)
