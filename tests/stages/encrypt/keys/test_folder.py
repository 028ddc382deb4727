from __future__ import annotations

import hmac
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from stages.encrypt.keys import owner as owner_side
from stages.encrypt.keys.folder import load_owner, new_generation, new_keys
from stages.encrypt.keys.ownerfile import protect_seed
from stages.encrypt.keys.rotation import export_public
from stages.encrypt.keys.site import load_site_secret
from stages.encrypt.lwe import reference
from stages.encrypt.lwe.parameters import LWE32
from stages.encrypt.lwe.scheme import Encryptor
from stages.encrypt.public.folder import load_public
from stages.encrypt.public.keyfiles import KeyFileError

QUICK = 10  # scrypt n = 2^10 for tests


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key directory under a passphrase, with a quick scrypt."""
    directory = tmp_path_factory.mktemp("protected") / "made" / "here"
    new_keys(directory, "Prüfung 7, im Keller", scrypt_log2_n=QUICK)
    return directory


def test_a_key_directory_has_what_the_command_line_promises(tmp_path: Path) -> None:
    """Two private folders; their secrets are private and public/ is readable, by the files' own modes."""
    umask = os.umask(0)
    try:
        new_keys(tmp_path, None)
    finally:
        os.umask(umask)
    modes = {
        str(file.relative_to(tmp_path)): stat.S_IMODE(file.stat().st_mode) for file in tmp_path.rglob("*")
    }
    private = ("owner", "owner/logs", "owner/retired", "site", "site/logs")
    secret = ("owner/owner.key", "site/site.key", "site/worker.key")
    pins = ("owner/bundle.pin", "site/bundle.pin")
    public = ("site/public/lwe.pub", "site/public/bundle.json", *pins)
    assert modes.pop("site/public") == 0o777  # less the umask
    assert modes == {
        **dict.fromkeys(private, 0o700),
        **dict.fromkeys(secret, 0o600),
        **dict.fromkeys(public, 0o644),
    }


def test_the_pair_fits_together(protected: Path) -> None:
    """What the public key encrypts, the owner's key decrypts; both know the same id."""
    public, owner = (
        load_public(protected),
        load_owner(protected / "owner" / "owner.key", "Prüfung 7, im Keller", least_scrypt_log2_n=QUICK),
    )
    assert public.key_id == public.lwe.key_id == owner.key_id == owner.lwe.key_id
    assert owner.hpke.public_key().public_bytes_raw() == public.hpke
    plain_ND = np.array([[-5, 0, 9]])
    block = Encryptor(public.lwe).encrypt(plain_ND, slot=1023, scale=20)
    assert (owner_side.decrypt(owner.lwe, block.header, block.head_Dn, block.columns_ND) == plain_ND).all()


def test_secrets_are_not_shown_in_a_trace(protected: Path) -> None:
    """What a debugger or a crash prints of an owner's keys names the key and shows nothing of it."""
    owner = load_owner(protected, "Prüfung 7, im Keller", least_scrypt_log2_n=QUICK)
    assert repr(owner) == f"OwnerKeys(key_id={owner.key_id!r})"
    assert "S_nl" not in repr(owner.lwe)
    generation = new_generation(LWE32, None, QUICK)
    seed = json.loads(generation.owner.encode())["protection"]["seed"]
    assert seed not in repr(generation)
    assert "signer" not in repr(generation)


def test_the_sites_keys_are_found_from_either_folder(key_directory: Path) -> None:
    """DIR and DIR/site name the same keys, for the public bundle and for the site's secret."""
    assert load_public(key_directory).key_id == load_public(key_directory / "site").key_id
    secret = load_site_secret(key_directory)
    assert secret == load_site_secret(key_directory / "site")
    assert len(secret) == 32


def test_the_owners_key_is_found_from_any_of_its_folders(key_directory: Path) -> None:
    """load_owner takes the file, DIR/owner, or DIR."""
    owner = key_directory / "owner"
    found = {load_owner(path, None).key_id for path in (key_directory, owner, owner / "owner.key")}
    assert found == {load_public(key_directory).key_id}


def test_two_directories_have_nothing_in_common(key_directory: Path, protected: Path) -> None:
    """Every key is fresh."""
    one, two = load_public(key_directory), load_public(protected)
    assert one.lwe.seed_A != two.lwe.seed_A
    assert one.hpke != two.hpke
    assert load_site_secret(key_directory) != load_site_secret(protected)


@pytest.mark.parametrize("name", ["owner", "site", "owner.key", "site.key", "worker.key", "public"])
def test_keys_are_never_overwritten(tmp_path: Path, name: str) -> None:
    """Any part of a key directory already there is an error, and nothing is written."""
    (tmp_path / name).touch()
    with pytest.raises(KeyFileError, match="never overwritten"):
        new_keys(tmp_path, None)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_derivation_never_changes(tmp_path: Path) -> None:
    """Key files of today open tomorrow: HKDF-Expand (one HMAC, RFC 5869) of the master seed, by purpose."""
    seed = bytes(range(32))
    made = protect_seed(seed, None, parameters="LWE32", key_id=bytes(32), created="2026", log2_n=QUICK)
    owner = load_owner(written(tmp_path, made.model_dump()), None)
    hpke, lwe = (
        hmac.digest(seed, f"MedSecure-U v1 {purpose}".encode() + b"\x01", "sha256")
        for purpose in ("HPKE X25519", "LWE secret")
    )
    assert owner.hpke.private_bytes_raw() == hpke
    assert owner.lwe.S_nl[0].tolist() == reference.cbd(lwe, reference.S_LABEL, 1, LWE32.slots)[0].tolist()


@pytest.mark.parametrize("passphrase", ["Prufung 7, im Keller", "Prüfung 7, im Keller ", ""])
def test_a_wrong_passphrase_is_one_sentence(protected: Path, passphrase: str) -> None:
    """A wrong or empty passphrase never gives a key."""
    with pytest.raises(KeyFileError, match="passphrase"):
        load_owner(protected, passphrase, least_scrypt_log2_n=QUICK)


def test_a_missing_passphrase_is_asked_for(protected: Path) -> None:
    """The sentence names the two ways to give one."""
    with pytest.raises(KeyFileError, match="at the prompt or in a --passphrase-file"):
        load_owner(protected, None, least_scrypt_log2_n=QUICK)


def test_the_same_passphrase_typed_on_another_keyboard_opens(protected: Path) -> None:
    """Composed and decomposed umlauts are one passphrase."""
    load_owner(protected, "Pru\u0308fung 7, im Keller", least_scrypt_log2_n=QUICK)


@pytest.mark.parametrize("short", ["", "fourteen chars", "U\u0308" * 14])
def test_a_short_passphrase_makes_no_key(tmp_path: Path, short: str) -> None:
    """Fifteen characters, as people count them; no protection at all has to be asked for by name."""
    with pytest.raises(KeyFileError, match="needs 15: choose a longer one"):
        new_keys(tmp_path, short)
    assert not any(tmp_path.iterdir())


def test_weak_scrypt_is_refused(protected: Path) -> None:
    """A file below n = 2^17 is refused by default, before any work."""
    with pytest.raises(KeyFileError, match=r"2\^10, allowed are 2\^17"):
        load_owner(protected, "Prüfung 7, im Keller")


def test_exhausting_scrypt_is_refused(protected: Path, tmp_path: Path) -> None:
    """A file that asks for gigabytes is refused before any work."""
    document = json.loads((protected / "owner" / "owner.key").read_text())
    document["protection"]["log2_n"] = 40
    with pytest.raises(KeyFileError, match=r"2\^40"):
        load_owner(written(tmp_path, document), "Prüfung 7, im Keller", least_scrypt_log2_n=QUICK)


def written(folder: Path, document: object) -> Path:
    """An owner.key with this content."""
    file = folder / "owner.key"
    file.write_text(json.dumps(document))
    file.chmod(0o600)
    return file


FIELDS = [("clear", path) for path in ("key_id", "created", "seed", "check")]
FIELDS += [("protected", path) for path in ("key_id", "created", "salt", "nonce", "box")]


@pytest.mark.parametrize(("which", "path"), FIELDS)
def test_damage_to_any_field_is_refused(
    which: str, path: str, key_directory: Path, protected: Path, tmp_path: Path
) -> None:
    """Every field is authenticated: damage is an error, never another key."""
    folder = key_directory if which == "clear" else protected
    document = json.loads((folder / "owner" / "owner.key").read_text())
    part = document if path in document else document["protection"]
    part[path] = part[path][:-1] + ("0" if part[path][-1] != "0" else "1")
    with pytest.raises(KeyFileError, match="damaged"):
        load_owner(written(tmp_path, document), "Prüfung 7, im Keller", least_scrypt_log2_n=QUICK)


@pytest.mark.parametrize(
    "change",
    [{"version": 2}, {"format": "x"}, {"extra": 1}, {"key_id": "zz"}, {"protection": {"kind": "rot13"}}],
)
def test_other_formats_are_refused(change: dict[str, object], key_directory: Path, tmp_path: Path) -> None:
    """Unknown versions, fields and protections are errors."""
    document = json.loads((key_directory / "owner" / "owner.key").read_text()) | change
    with pytest.raises(KeyFileError, match="not an owner key file"):
        load_owner(written(tmp_path, document), None)


def test_a_truncated_owner_key_is_refused(key_directory: Path, tmp_path: Path) -> None:
    """Half a file is no file."""
    file = tmp_path / "owner.key"
    file.write_bytes((key_directory / "owner" / "owner.key").read_bytes()[:100])
    file.chmod(0o600)
    with pytest.raises(KeyFileError, match="not an owner key file"):
        load_owner(file, None)


def test_other_parameters_are_refused(key_directory: Path, tmp_path: Path) -> None:
    """A key file for a set outside the table is named as such."""
    document = json.loads((key_directory / "owner" / "owner.key").read_text()) | {"parameters": "LWE16"}
    with pytest.raises(KeyFileError, match="LWE16"):
        load_owner(written(tmp_path, document), None)


@pytest.mark.parametrize("name", ["owner/owner.key", "site/site.key"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_secret_files_open_to_others_are_refused(
    key_directory: Path, tmp_path: Path, name: str, mode: int
) -> None:
    """The sentence says which command helps."""
    file = tmp_path / Path(name).name
    file.write_bytes((key_directory / name).read_bytes())
    file.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_owner(file, None) if file.name == "owner.key" else load_site_secret(tmp_path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    """Each loader names the file it did not find."""
    for load, name in (
        (lambda: load_owner(tmp_path, None), "owner.key"),
        (lambda: load_public(tmp_path), "bundle.json"),
        (lambda: load_site_secret(tmp_path), "site.key"),
    ):
        with pytest.raises(KeyFileError, match=name):
            load()


@pytest.mark.parametrize("text", ["", "00", "zz" * 32, "00" * 33])
def test_a_damaged_site_key_is_refused(tmp_path: Path, text: str) -> None:
    """Exactly 64 hexadecimal digits, or an error."""
    (tmp_path / "site.key").write_text(text)
    (tmp_path / "site.key").chmod(0o600)
    with pytest.raises(KeyFileError, match="64 hexadecimal digits"):
        load_site_secret(tmp_path)


def test_a_flipped_bit_in_the_public_key_is_refused(key_directory: Path, tmp_path: Path) -> None:
    """The key must have the digest that the bundle names."""
    export_public(key_directory, tmp_path / "site")
    file = tmp_path / "site" / "public" / "lwe.pub"
    data = bytearray(file.read_bytes())
    data[1_000_000] ^= 1
    file.write_bytes(data)
    with pytest.raises(KeyFileError, match="not the key that bundle"):
        load_public(tmp_path)
    file.write_bytes(data[:99])
    with pytest.raises(KeyFileError, match=r"lwe\.pub: "):
        load_public(tmp_path)


def test_secret_files_are_private_from_the_first_byte(tmp_path: Path) -> None:
    """Even under umask 0 nobody else can read a secret."""
    previous = os.umask(0)
    try:
        new_keys(tmp_path / "k", None)
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "k" / "owner" / "owner.key").stat().st_mode) == 0o600


def test_the_parameters_of_new_keys_are_the_default(key_directory: Path) -> None:
    """New keys are LWE32."""
    assert load_public(key_directory).lwe.parameters == LWE32


def test_an_unwritable_directory_is_named(tmp_path: Path) -> None:
    """A path that cannot become a directory is a key file error, not a traceback."""
    (tmp_path / "file").touch()
    with pytest.raises(KeyFileError, match="choose another directory"):
        new_keys(tmp_path / "file" / "keys", None)
