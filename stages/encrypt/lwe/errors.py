"""What can be wrong with LWE input; each is refused, none becomes a wrong number."""

from __future__ import annotations

from stages.errors import OperatorError


class LweError(OperatorError):
    """Base of everything refused here."""


class PlaintextOverflowError(LweError):
    """A plaintext, a sum or a score that may leave the plaintext range."""


class ShapeError(LweError):
    """Arrays whose shape or type does not fit the header, the key or each other."""


class ForeignKeyError(LweError):
    """A block made under another public key."""


class HeaderError(LweError):
    """Bytes that are not a block header, or not an unharmed one."""


class PublicKeyError(LweError):
    """Bytes that are not a usable LWE public key."""


class ZeroWeightsError(LweError):
    """A query that has no direction."""


class SpentBlankError(LweError):
    """A blank that was used before, or in another process than the one that made it."""
