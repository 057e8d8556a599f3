from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.otp import code_matches, hash_code, new_code, normalise_code

PEPPER = b"a pepper of the server, 32 bytes"
ANY_TEXT = st.text(st.characters(exclude_categories=[]))


@pytest.mark.parametrize("length", [1, 4, 6, 10])
def test_new_code(length: int) -> None:
    """A code has the digits asked for, all ASCII."""
    code = new_code(length)

    assert length == len(code)
    assert code.isascii()
    assert code.isdigit()


def test_new_code_is_uniform() -> None:
    """Every digit comes about equally often in every place, zero in the first one too."""
    codes = [new_code(4) for _ in range(4000)]
    counts = [Counter(code[place] for code in codes) for place in range(4)]

    assert all(len(count) == 10 for count in counts)
    # 400 expected, standard deviation 19: seven of them are never left by chance.
    assert all(267 < number < 533 for count in counts for number in count.values())


def test_no_empty_code() -> None:
    """A code without digits, which anybody could guess, is not made."""
    with pytest.raises(ValueError):
        new_code(0)


def test_hash_is_hmac_sha256() -> None:
    """The hash is keyed, and stays the same from release to release: open codes must survive an upgrade."""
    expected = "caf7cc5cb423423e"

    assert hash_code(PEPPER, "01J8", "012345").hex().startswith(expected)
    assert len(hash_code(PEPPER, "01J8", "012345")) == 32


def test_hash_depends_on_everything() -> None:
    """Another pepper, message or code gives another hash, and so does moving a digit from the id to the code."""
    hashes = {
        hash_code(PEPPER, "1", "23"),
        hash_code(PEPPER, "12", "3"),
        hash_code(PEPPER, "123", ""),
        hash_code(PEPPER, "", "123"),
        hash_code(PEPPER, "1", "24"),
        hash_code(b"another", "1", "23"),
    }

    assert len(hashes) == 6


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_only_the_same_matches(message_id: str, code: str, other_id: str, other_code: str) -> None:
    """A code matches in its own message and no other does, whatever the texts are, lone surrogates included."""
    kept = hash_code(PEPPER, message_id, code)

    assert code_matches(PEPPER, message_id, code, kept)
    assert ((message_id, code) == (other_id, other_code)) == code_matches(PEPPER, other_id, other_code, kept)


@pytest.mark.parametrize(
    "expected_hash", [b"", b"\xc3\xa9", bytes(32), b"0" * 64, b"x" * 1_000_000], ids=["empty", "accent", "zeros", "hex", "huge"]
)
@pytest.mark.parametrize(
    "code", ["", "123456", "١٢٣٤٥٦", "\ud800\x00", "1" * 1_000_000], ids=["empty", "digits", "arabic", "surrogate", "huge"]
)
def test_hostile_texts_do_not_match(code: str, expected_hash: str) -> None:
    """Huge, empty and broken texts are refused quietly."""
    assert not code_matches(PEPPER, "01J8", code, expected_hash)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("012345", "012345"),
        (" 012345\n", "012345"),
        ("12345", "12345"),
        ("01 23 45", "01 23 45"),
        ("", ""),
        (12345, "012345"),
        (0, "000000"),
        (999999, "999999"),
        (1000000, ""),
        (-1, ""),
    ],
)
def test_normalise_code(value: str | int, expected: str) -> None:
    """A number gets its leading zeros back or becomes nothing; a text loses the white space around it and no more."""
    assert expected == normalise_code(value, 6)


def test_absurd_numbers() -> None:
    """A number too long for Python to write out becomes nothing as well."""
    assert normalise_code(10**5000, 6) == ""
    assert normalise_code(-(10**5000), 6) == ""


@given(st.integers(4, 10), st.integers(), st.data())
def test_number_and_text_agree(length: int, any_number: int, data: st.DataObject) -> None:
    """Every code survives a client that sends it as a number; any other number has the length of no code."""
    code = data.draw(st.from_regex(rf"[0-9]{{{length}}}", fullmatch=True))

    assert code == normalise_code(int(code), length)
    assert len(normalise_code(any_number, length)) in (0, length)
