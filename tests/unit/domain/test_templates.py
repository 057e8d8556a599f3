from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.errors import Invalid
from router.domain.segments import Segments, count_segments
from router.domain.templates import Template, check_template, preview, render, warnings

LOGIN = Template(key="login", text="Votre code : {code}. Valable {minutes} min.")


def changed(**changes: Any) -> Template:
    return msgspec.structs.replace(LOGIN, **changes)


def test_sound_template() -> None:
    """A sound template gives the size of its rendering, not of its own text."""
    assert check_template(LOGIN) == Segments(encoding="gsm7", units=len("Votre code : 123456. Valable 5 min."), parts=1)
    assert check_template(changed(text="{code}", code_length=10)).units == 10
    assert check_template(changed(text="{code}\n{code}")).units == 13


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "a"},
        {"key": "Az09_.-" * 9 + "a"},
        {"text": "x" * 994 + "{code}"},
        {"text": "رمزك {code}\u200f"},
        {"code_length": 4},
        {"code_length": 10},
        {"code_seconds": 30.0},
        {"code_seconds": 3600.0},
    ],
)
def test_bounds_are_allowed(changes: dict[str, Any]) -> None:
    """The bounds themselves are sound."""
    assert check_template(changed(**changes)).parts >= 1


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"key": ""}, "key", "1 to 64"),
        ({"key": "a" * 65}, "key", "1 to 64"),
        ({"key": "a b"}, "key", "letters"),
        ({"key": "é"}, "key", "letters"),
        ({"key": "login\n"}, "key", "letters"),
        ({"text": ""}, "text", "1 to 1000"),
        ({"text": "x" * 995 + "{code}"}, "text", "1 to 1000"),
        ({"text": "Your code"}, "text", "{code} is missing"),
        ({"text": "{minutes}"}, "text", "{code} is missing"),
        ({"text": "{code} {name}"}, "text", "unknown placeholder {name}"),
        ({"text": "{code} {Code}"}, "text", "unknown placeholder {Code}"),
        ({"text": "{code} { code }"}, "text", "unknown placeholder { code }"),
        ({"text": "{code} {}"}, "text", "unknown placeholder {}"),
        ({"text": "{code:x}"}, "text", "unknown placeholder {code:x}"),
        ({"text": "{code} {" + "n" * 900 + "}"}, "text", "unknown placeholder {nnn"),
        ({"text": "{{code}}"}, "text", "a { without"),
        ({"text": "{code} }"}, "text", "a } without"),
        ({"text": "{code} {"}, "text", "a { without"),
        ({"text": "{code}\r\n"}, "text", "U+000D"),
        ({"text": "{code}\x00"}, "text", "U+0000"),
        ({"text": "{code}\x85"}, "text", "U+0085"),
        ({"text": "{code}\ud83d"}, "text", "U+D83D"),
        ({"code_length": 3}, "code_length", "4 to 10"),
        ({"code_length": 11}, "code_length", "4 to 10"),
        ({"code_seconds": 29.9}, "code_seconds", "30 to 3600"),
        ({"code_seconds": 3600.1}, "code_seconds", "30 to 3600"),
        ({"code_seconds": float("nan")}, "code_seconds", "30 to 3600"),
        ({"code_seconds": float("inf")}, "code_seconds", "30 to 3600"),
    ],
)
def test_refusals(changes: dict[str, Any], field: str, reason: str) -> None:
    """What is not sound is refused by the name of its field, with a short reason that says what to mend."""
    with pytest.raises(Invalid) as refusal:
        check_template(changed(**changes))

    assert field == refusal.value.field
    assert reason in refusal.value.reason
    assert len(refusal.value.reason) < 120


def test_longest_life_is_a_setting() -> None:
    """A setting may shorten the longest life of a code, not lengthen it."""
    with pytest.raises(Invalid, match="30 to 600 seconds"):
        check_template(changed(code_seconds=601), longest_seconds=600)
    with pytest.raises(Invalid, match="30 to 3600 seconds"):
        check_template(changed(code_seconds=3601), longest_seconds=9999)

    assert check_template(changed(code_seconds=600), longest_seconds=600).parts == 1


@pytest.mark.parametrize(("code_seconds", "minutes"), [(30, "1"), (60, "1"), (60.5, "2"), (300, "5"), (301, "6"), (3600, "60")])
def test_minutes_round_up(code_seconds: float, minutes: str) -> None:
    """The life of a code is told in whole minutes, rounded up."""
    assert f"001234 {minutes}" == render(changed(text="{code} {minutes}", code_seconds=code_seconds), "001234")


def test_code_is_not_a_template() -> None:
    """A placeholder in a caller's own code is not replaced."""
    assert render(changed(text="{code}/{minutes}"), "{minutes}") == "{minutes}/5"


def test_warnings() -> None:
    """A template says which characters force UCS-2, and that several parts cost several times the quota."""
    assert warnings(LOGIN) == []

    (encoding,) = warnings(changed(text="Code reçu, en forêt : {code}"))
    assert "'ç', 'ê'." in encoding

    (parts,) = warnings(changed(text="a" * 155 + "{code}"))
    assert "2 parts" in parts

    arabic = "رمز التحقق الخاص بك هو {code} وهو صالح لمدة {minutes} دقائق فقط. لا تشاركه مع أي شخص آخر"
    encoding, parts = warnings(changed(text=arabic))
    assert "and 14 more" in encoding
    assert "2 parts" in parts


WORDS = st.text(st.characters(exclude_characters="{}", exclude_categories=["Cs", "Cc"]), max_size=400)


@given(WORDS, st.integers(4, 10), st.data())
def test_check_counts_every_rendering(words: str, code_length: int, data: st.DataObject) -> None:
    """Whatever the code, the size is the one that the check told."""
    template = changed(text=f"{{code}}{words}{{minutes}}", code_length=code_length)
    code = data.draw(st.from_regex(rf"[0-9]{{{code_length}}}", fullmatch=True))

    assert check_template(template) == count_segments(render(template, code))


@given(st.text() | st.text("{}codeminutes \n"))
def test_any_text_is_sound_or_refused(text: str) -> None:
    """No text raises anything but Invalid, and a sound one leaves no brace behind."""
    template = changed(text=text)
    try:
        check_template(template)
    except Invalid as refusal:
        assert refusal.field == "text"  # noqa: PT017 - either way is right, and says something
        return

    assert "{" not in render(template, "123456")
    assert "}" not in render(template, "123456")


def test_preview() -> None:
    """A sample with the digits in order; what forces UCS-2 is named once; what is unsound is refused."""
    plain, accented = preview(changed(text="{code}!", code_length=10)), preview(changed(text="ê {code} ê ü"))

    assert ("1234567890!", "gsm7", "", []) == (plain.text, plain.segments.encoding, plain.forcing, plain.warnings)
    assert ("ê 123456 ê ü", "ucs2", "ê") == (accented.text, accented.segments.encoding, accented.forcing)
    assert warnings(changed(text="ê {code} ê ü")) == accented.warnings
    with pytest.raises(Invalid):
        preview(changed(text="none"))
