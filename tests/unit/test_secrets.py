import subprocess
import sys
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from rich.console import Console

from router.secrets import SealBroken, Sealer, Secrets, SecretsInvalid, _make_sync_key, load_secrets

GIVEN = {
    "operator_token": "given-operator",
    "jwt_secret": "j" * 32,
    "mobile_private_token": "given-mobile",
    "code_pepper": "ab" * 32,
    "seal_key": "cd" * 32,
    "sync_key": _make_sync_key(),
}
KEY = bytes(range(32))

MINE = "an operator token of mine"  # with blanks, which no token that is made here has


def test_made_secrets_are_kept_private(tmp_path: Path) -> None:
    """What is made at the first start is read again at the second; the file is 600 and a folder that was made is 700."""
    data = tmp_path / "deep" / "data"

    first = load_secrets(data, {})

    assert first == load_secrets(data, {})
    assert data.stat().st_mode & 0o777 == 0o700
    assert (data / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert not list(data.glob(".secrets-*"))


def test_made_secrets_are_strong(tmp_path: Path) -> None:
    """Made keys have the bytes that their algorithms need, and no two secrets are the same."""
    made = load_secrets(tmp_path, {})

    assert len(bytes.fromhex(made.seal_key)) == 32
    assert len(bytes.fromhex(made.code_pepper)) == 32
    assert len(made.jwt_secret.encode()) >= 32
    assert len(set(msgspec.structs.astuple(made))) == 6
    key = serialization.load_pem_private_key(made.sync_key.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 2048


def test_given_wins_and_is_not_written(tmp_path: Path) -> None:
    """A secret from the settings wins over the kept one, for as long as it is given; the file stays as it is."""
    kept = load_secrets(tmp_path, {})
    before = (tmp_path / "secrets.json").read_bytes()

    assert load_secrets(tmp_path, {"operator_token": MINE}) == msgspec.structs.replace(kept, operator_token=MINE)
    assert load_secrets(tmp_path, {"operator_token": ""}) == kept
    assert (tmp_path / "secrets.json").read_bytes() == before


def test_a_missing_one_is_added(tmp_path: Path) -> None:
    """A secret that was given at first, and no longer is, is made then; those in the file do not change."""
    first = load_secrets(tmp_path, {"operator_token": MINE})
    assert MINE.encode() not in (tmp_path / "secrets.json").read_bytes()

    second = load_secrets(tmp_path, {})

    assert second.operator_token != MINE
    assert msgspec.structs.replace(second, operator_token=MINE) == first


def test_all_given_needs_no_folder(tmp_path: Path) -> None:
    """Where the settings hold all secrets, nothing is read or written."""
    assert Secrets(**GIVEN) == load_secrets(tmp_path / "none", GIVEN)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_loose_file_is_refused(tmp_path: Path, mode: int) -> None:
    """A file that others may read is refused, and the error says the command that mends it."""
    load_secrets(tmp_path, {})
    path = tmp_path / "secrets.json"
    path.chmod(mode)

    with pytest.raises(SecretsInvalid, match=f"chmod 600 {path}"):
        load_secrets(tmp_path, {})


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"seal_key": 7}',
        b'{"seal_key": "hunter2"}',
        b'{"jwt_secret": "hunter2"}',
        b"\xff\xfe hunter2",
    ],
)
def test_broken_file_is_kept(tmp_path: Path, broken: bytes) -> None:
    """A file that cannot be used is an error that shows none of its content, and it is never written over."""
    path = tmp_path / "secrets.json"
    path.touch(mode=0o600)
    path.write_bytes(broken)

    with pytest.raises(SecretsInvalid, match=r"secrets\.json") as caught:
        load_secrets(tmp_path, {})

    assert "hunter2" not in str(caught.value)
    assert path.read_bytes() == broken


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jwt_secret", "short"),
        ("seal_key", "a" * 62),
        ("code_pepper", "x" * 64),
        ("seal_key", "ab " * 22),
        ("operator_token", " hunter2"),
    ],
)
def test_given_that_cannot_be_used(tmp_path: Path, name: str, value: str) -> None:
    """A given secret that is too short or malformed is refused by its name; the value is not shown."""
    with pytest.raises(SecretsInvalid, match=name) as caught:
        load_secrets(tmp_path, {name: value})

    assert value not in str(caught.value)


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None) -> str:
    shut = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, shut).decode()


def test_keys_of_the_synchronisation_that_cannot_be_used(tmp_path: Path) -> None:
    """None, too short, of another kind, or encrypted: refused by its name."""
    good = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    for value in ("x", _pem(short), _pem(ec.generate_private_key(ec.SECP256R1())), _pem(good, b"hunter2")):
        with pytest.raises(SecretsInvalid, match="sync_key"):
            load_secrets(tmp_path, {"sync_key": value})


def test_a_given_key_on_one_line(tmp_path: Path) -> None:
    r"""An environment file has a PEM's line breaks as \n."""
    pem = GIVEN["sync_key"]

    assert pem == load_secrets(tmp_path, {"sync_key": pem.replace("\n", r"\n")}).sync_key


def test_unknown_name(tmp_path: Path) -> None:
    """A name that is no secret is refused, so that a slip of the pen does not lose a given secret."""
    with pytest.raises(SecretsInvalid, match="operator_tokn"):
        load_secrets(tmp_path, {"operator_tokn": MINE})


def test_nothing_shows_a_secret() -> None:
    """Neither repr, nor str, nor rich (which prints the locals of tracebacks) shows a secret."""
    shown = StringIO()
    secrets = Secrets(**GIVEN)
    Console(file=shown, width=400).print(secrets, [secrets], {"s": secrets})

    for text in (repr(secrets), str(secrets), f"{secrets}", shown.getvalue()):
        assert not [value for value in GIVEN.values() if value in text]


def test_two_at_once_agree(tmp_path: Path) -> None:
    """Processes that make the secrets at the same time end with the same ones."""
    script = (
        "import sys; from pathlib import Path; import msgspec; from router.secrets import load_secrets; sys.stdin.read(); "
        "print(msgspec.json.encode(load_secrets(Path(sys.argv[1]), {})).decode())"
    )
    racers = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.close()
        racer.stdin = None
    said = {racer.communicate(timeout=60)[0].splitlines()[-1] for racer in racers}

    assert len(said) == 1
    assert msgspec.json.decode(said.pop(), type=Secrets) == load_secrets(tmp_path, {})


@pytest.mark.parametrize(
    "text", ["", "Your code is 123456", "رمزك هو ١٢٣", "\x00", "😀", "half \ud83d", "two halves " + "\ud83d" + "\ude00"]
)
def test_sealed_text_comes_back(text: str) -> None:
    """Any str comes back as it was, a lone surrogate included."""
    sealer = Sealer(KEY)

    assert text == sealer.open(sealer.seal(text, "01J"), "01J")


def test_seal_hides_and_never_repeats() -> None:
    """The sealed bytes start with their version, hold nothing of the text, and differ each time."""
    sealer = Sealer(KEY)
    first, second = sealer.seal("code 123456", "01J"), sealer.seal("code 123456", "01J")

    assert first[:1] == b"\x01"
    assert b"123456" not in first
    assert first != second
    assert first[1:13] != second[1:13]


def test_seal_is_of_one_message() -> None:
    """A text does not open for another message, or with another key."""
    sealed = Sealer(KEY).seal("code 123456", "01J")

    with pytest.raises(SealBroken):
        Sealer(KEY).open(sealed, "01K")
    with pytest.raises(SealBroken):
        Sealer(KEY[::-1]).open(sealed, "01J")


def test_every_changed_byte_breaks_the_seal() -> None:
    """A change of any one byte (version, nonce, text, tag), or a cut at any place, is noticed."""
    sealer = Sealer(KEY)
    sealed = sealer.seal("code 123456", "01J")
    changed = [sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :] for i in range(len(sealed))]
    cut = [sealed[:i] for i in range(len(sealed))]

    for broken in changed + cut:
        with pytest.raises(SealBroken):
            sealer.open(broken, "01J")


def test_key_of_another_size() -> None:
    """A key that is not 32 bytes is refused rather than taken as AES-128."""
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer(KEY[:16])


def test_fingerprints() -> None:
    """The same text is known again in the same place, and nowhere else; another key knows nothing."""
    sealer = Sealer(KEY)
    marks = {sealer.fingerprint(text, among) for text in ("+213661000001", "+213661000002") for among in ("a", "b")}

    assert len(marks) == 4
    assert all(0 <= mark < 2**63 for mark in marks)
    assert sealer.fingerprint("+213661000001", "a") == Sealer(KEY).fingerprint("+213661000001", "a")
    assert Sealer(KEY[::-1]).fingerprint("+213661000001", "a") not in marks
