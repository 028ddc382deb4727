"""The later life of a key folder: new generations, passphrases, copies of what is public.

Rotation makes a new owner key in the same folder. The old one is kept in ``retired/``, since the index's
earlier records stay under it; ``site.key`` and ``worker.key`` stay, so pseudonyms do not change. The new
files are made complete in ``owner/rotation/``, which appears by one rename, and then take their places: a
rotation that was interrupted is finished by asking for it again.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from stages import files
from stages.encrypt.keys.folder import Generation, load_owner, new_generation, owner_files
from stages.encrypt.keys.ownerfile import (
    SCRYPT_LOG2_N,
    Clear,
    OwnerFile,
    open_seed,
    protect_seed,
    read_owner,
    refuse_short,
)
from stages.encrypt.keys.signer import open_signer, publish
from stages.encrypt.lwe.wire import encode_public_key
from stages.encrypt.public.bundle import Bundle, Contents, EarlierKey, hpke_id, parse_bundle
from stages.encrypt.public.folder import PublicKeys, load_public
from stages.encrypt.public.keyfiles import KeyFileError
from stages.encrypt.public.layout import (
    BUNDLE,
    LWE,
    OWNER,
    OWNERS_ONLY,
    PIN,
    PUBLIC_FOLDER,
    RETIRED,
    KeyFolders,
    key_folders,
    owner_folder,
    site_folder,
)
from stages.encrypt.public.pin import pin_of, read_bundle
from stages.files import SECRET

_ROTATION: Final = "rotation"


def rotate(directory: Path, passphrase: str | None, *, scrypt_log2_n: int = SCRYPT_LOG2_N) -> PublicKeys:
    """A new generation, under the passphrase that opens the current one (none where that has none).

    Raises KeyFileError before anything is changed. Where an earlier rotation was interrupted, that one is
    finished and no further one begun.
    """
    halves = key_folders(directory)
    if not (halves.owner / _ROTATION).is_dir():
        signer, contents = open_signer(halves, passphrase, scrypt_log2_n)
        current = load_owner(halves.owner, passphrase, least_scrypt_log2_n=scrypt_log2_n)
        if contents.key_id != current.key_id.hex():
            raise KeyFileError(
                f"{halves.owner / OWNER} is not the key that {BUNDLE} names: restore the folder"
            )
        clear = isinstance(read_owner(halves.owner / OWNER).protection, Clear)
        made = new_generation(current.lwe.parameters, None if clear else passphrase, scrypt_log2_n)
        _stage(halves.owner, made, signer.sign(_next(contents, made)))
    _finish(halves)
    return load_public(halves.site)


def change_passphrase(
    directory: Path, old: str | None, new: str | None, *, scrypt_log2_n: int = SCRYPT_LOG2_N
) -> int:
    """Protect the owner key and the retired ones with another passphrase, or with none; how many files.

    Every file is opened before the first is replaced. Files that open with the new passphrase already are
    left alone, so that a change that was interrupted is finished by asking for it again.
    """
    if new is not None:
        refuse_short(new)
    changed: list[tuple[Path, OwnerFile]] = []
    for file in owner_files(owner_folder(directory)):
        parsed = read_owner(file)
        if isinstance(parsed.protection, Clear) and new is None:
            continue
        try:
            seed = open_seed(parsed, file, old, scrypt_log2_n)
        except KeyFileError:
            with suppress(KeyFileError):
                open_seed(parsed, file, new, scrypt_log2_n)
                continue
            raise
        protected = protect_seed(
            seed,
            new,
            parameters=parsed.parameters,
            key_id=bytes.fromhex(parsed.key_id),
            created=parsed.created,
            log2_n=scrypt_log2_n,
        )
        changed.append((file, protected))
    for file, protected in changed:
        files.write_whole(file, protected.encode(), SECRET)
    return len(changed)


def export_public(directory: Path, out: Path) -> PublicKeys:
    """Make a new site's folder of what is public, and nothing else; it appears whole."""
    if out.exists():
        raise KeyFileError(f"{out} exists already: nothing is overwritten, choose another name")
    keys = load_public(directory)
    folder = site_folder(directory) / PUBLIC_FOLDER
    try:
        files.make_directory(out.parent)
        with files.whole_directory(out) as made:
            (made / PUBLIC_FOLDER).mkdir()
            files.write_whole(made / PIN, pin_of(read_bundle(directory)).encode())
            for name in (LWE, BUNDLE):
                files.write_whole(made / PUBLIC_FOLDER / name, (folder / name).read_bytes())
    except OSError as error:
        raise KeyFileError(f"{out} cannot be written ({error.strerror}): choose another name") from error
    return keys


def _next(contents: Contents, made: Generation) -> Contents:
    """What the bundle says once a new generation has taken the place of the current one."""
    return contents.followed(
        made.created,
        key_id=made.lwe.key_id.hex(),
        hpke_id=hpke_id(made.hpke),
        hpke_public=made.hpke,
        earlier=(EarlierKey(key_id=contents.key_id, until=made.created), *contents.earlier),
    )


def _stage(owner: Path, made: Generation, bundle: Bundle) -> None:
    """All files of the new generation, in a folder that is there with all of them or not at all."""
    try:
        with files.whole_directory(owner / _ROTATION, OWNERS_ONLY) as staged:
            files.write_whole(staged / OWNER, made.owner.encode(), SECRET)
            files.write_whole(staged / LWE, encode_public_key(made.lwe))
            files.write_whole(staged / BUNDLE, bundle.encode())
    except OSError as error:
        raise KeyFileError(f"{owner} cannot take new keys ({error.strerror})") from error


def _finish(halves: KeyFolders) -> None:
    """Put the new generation into place, the old owner key first out of it. May be done again.

    The site's folder may be another file system: public files are written there before they go here.
    """
    owner = halves.owner
    staged = owner / _ROTATION
    try:
        if (staged / OWNER).exists():
            retired = owner / RETIRED / f"{read_owner(owner / OWNER).key_id}.key"
            files.make_directory(retired.parent, OWNERS_ONLY)
            files.sync_directory(owner)  # a killed run may have made it and not synced
            files.write_whole(retired, (owner / OWNER).read_bytes(), SECRET)
            files.move(staged / OWNER, owner / OWNER)
        if (staged / LWE).exists():
            files.write_whole(halves.site / PUBLIC_FOLDER / LWE, (staged / LWE).read_bytes())
            (staged / LWE).unlink()
        if (staged / BUNDLE).exists():
            bundle = parse_bundle((staged / BUNDLE).read_bytes())
            if bundle is None:
                raise KeyFileError(
                    f"{staged / BUNDLE} is damaged: remove {staged} and run the rotation again"
                )
            publish(halves, bundle)
            (staged / BUNDLE).unlink()
        staged.rmdir()
        files.sync_directory(owner)
    except OSError as error:
        raise KeyFileError(
            f"the rotation in {owner} stopped half way ({error.strerror}): run it again to finish it"
        ) from error
