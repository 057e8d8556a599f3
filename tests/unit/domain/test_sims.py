import pytest

from router.domain.carriers import carrier_of_iccid, carriers_by_label, country_of_iccid, is_iccid
from router.domain.device import Sim
from router.domain.sims import Told, carrier_of_sim, number_of_sim, told_of

MOBILIS, DJEZZY, OOREDOO = "60301", "60302", "60303"
MOBILIS_CARD = "8921301001234567890"
MOROCCAN_CARD = "8921202700238241467F"
TUNISIAN_CARD = "8921602000000000000"
FRENCH_CARD = "8933010000000000000"


@pytest.mark.parametrize(
    ("sim", "carrier"),
    [
        (Sim(1, "+213661000001"), MOBILIS),
        (Sim(1, "0770 00 00 01", carrier_name="Mobilis"), DJEZZY),
        (Sim(2, iccid=MOBILIS_CARD, carrier_name="Djezzy"), MOBILIS),
        (Sim(1, iccid="603030123456789", carrier_name="Djezzy"), OOREDOO),
        (Sim(1, iccid="604055255255440"), "60402"),
        (Sim(1, "unknown", "Djezzy 4G", ""), DJEZZY),
    ],
)
def test_which_word_counts(sim: Sim, carrier: str) -> None:
    """The number, else the card's registered issuer, else an IMSI in its place, else the name that the phone shows."""
    assert carrier == carrier_of_sim(sim, "DZ")


@pytest.mark.parametrize(
    ("name", "region", "carrier"),
    [
        ("Mobilis", "DZ", MOBILIS),
        ("ATM Mobilis", "DZ", MOBILIS),
        ("Algérie Télécom Mobile", "DZ", MOBILIS),
        ("DJEZZY", "DZ", DJEZZY),
        ("Djezzy 4G+", "DZ", DJEZZY),
        ("OTA", "DZ", DJEZZY),
        ("Nedjma", "DZ", OOREDOO),
        ("Ooredoo DZ", "TN", OOREDOO),
        ("inwi", "DZ", "60402"),
        ("IAM", "DZ", "60401"),
        ("Maroc Telecom", "DZ", "60401"),
        ("Tunisie Télécom", "DZ", "60502"),
        ("TUNISIANA", "DZ", "60503"),
    ],
)
def test_names(name: str, region: str, carrier: str) -> None:
    """Short, former and company names, in any case, with accents and with what kind of network it is."""
    assert carrier == carrier_of_sim(Sim(1, carrier_name=name), region)


@pytest.mark.parametrize(("region", "carrier"), [("TN", "60501"), ("MA", "60400"), ("DZ", None), ("FR", None)])
def test_a_name_of_several_countries(region: str, carrier: str | None) -> None:
    """Orange is the default region's Orange, and none where that has none."""
    assert carrier == carrier_of_sim(Sim(1, carrier_name="Orange"), region)


@pytest.mark.parametrize(
    ("card", "carrier"), [(MOROCCAN_CARD, "60400"), (TUNISIAN_CARD, "60501"), (MOBILIS_CARD, MOBILIS), (FRENCH_CARD, None)]
)
def test_the_cards_country_stands_above_the_default(card: str, carrier: str | None) -> None:
    """An ICCID tells the country even where it does not tell the issuer."""
    assert carrier == carrier_of_sim(Sim(1, iccid=card, carrier_name="Orange"), "TN")


@pytest.mark.parametrize(
    "sim",
    [
        Sim(0),
        Sim(1),
        Sim(1, carrier_name="Orange F"),
        Sim(1, carrier_name="No service"),
        Sim(1, carrier_name="4G"),
        Sim(1, iccid=TUNISIAN_CARD, carrier_name="Mobilis"),
        Sim(1, "+33612345678", carrier_name="Orange"),
        Sim(1, iccid=MOROCCAN_CARD),
        Sim(1, iccid="8921302123456789012"),
        Sim(1, iccid="20815"),
    ],
)
def test_nobody_knows(sim: Sim) -> None:
    """No guess: not from an unknown word, a visited network, a card whose issuer is not registered, or digits that are nothing."""
    assert None is carrier_of_sim(sim, "DZ")


def test_iccids() -> None:
    assert [True, True, False, False] == [is_iccid(text) for text in (MOBILIS_CARD, MOBILIS_CARD + "1", "89213", "603010123456789")]
    assert ["DZ", "TN", None, None] == [country_of_iccid(text) for text in (MOBILIS_CARD, TUNISIAN_CARD, FRENCH_CARD, "89213")]
    assert [MOBILIS, None] == [carrier_of_iccid(text) for text in (MOBILIS_CARD, TUNISIAN_CARD)]


def test_labels_of_several() -> None:
    assert ("60303", "60503") == carriers_by_label("ooredoo")
    assert ("60503",) == carriers_by_label("Ooredoo Tunisie")
    assert () == carriers_by_label("Mobilis Maroc")
    assert () == carriers_by_label("")


@pytest.mark.parametrize(("told", "e164"), [("0661000001", "+213661000001"), ("+213661000001", "+213661000001"), ("?", None), ("", None)])
def test_number(told: str, e164: str | None) -> None:
    number = number_of_sim(Sim(1, told), "DZ")

    assert e164 == (number.e164 if number is not None else None)


@pytest.mark.parametrize(
    ("before", "now", "is_another", "carrier"),
    [
        (Sim(1, iccid=MOBILIS_CARD), Sim(1, iccid=TUNISIAN_CARD, carrier_name="Orange"), True, "60501"),
        (Sim(1, "0661000001", iccid=MOBILIS_CARD), Sim(1, "0661000002", iccid=MOBILIS_CARD + "F"), False, MOBILIS),
        (Sim(1, "0661000001"), Sim(1, "0770000002"), True, DJEZZY),
        (Sim(1, "0661000001"), Sim(1), False, ""),
        (Sim(1, iccid=MOBILIS_CARD), Sim(1, "0661000001"), False, MOBILIS),
        (Sim(1, carrier_name="Mobilis"), Sim(1, carrier_name="Djezzy"), True, DJEZZY),
        (Sim(1, carrier_name="Mobilis"), Sim(1, carrier_name="Mobilis 4G"), False, MOBILIS),
        (Sim(1, carrier_name="Mobilis"), Sim(1, carrier_name="Tunisie Telecom"), False, ""),
        (Sim(1, carrier_name="Mobilis"), Sim(1, carrier_name="No service"), False, ""),
        (Sim(1), Sim(1, carrier_name="inwi"), False, "60402"),
        (None, Sim(1, carrier_name="Djezzy"), False, DJEZZY),
    ],
)
def test_what_a_phones_word_comes_to(before: Sim | None, now: Sim, is_another: bool, carrier: str) -> None:
    """Another card by its ICCID, its number, or another name of the same country; a foreign name is of a network that it visits."""
    told = told_of(before, now, "DZ")

    assert (is_another, carrier) == (told.is_another, told.carrier)


def test_the_number_is_told_in_one_spelling() -> None:
    assert Told(is_another=False, msisdn="+213661000001", carrier=MOBILIS) == told_of(None, Sim(1, "0661 00 00 01"), "DZ")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("***ilis", "60301"), ("**ezzy", "60302"), ("***edoo", "60303"), ("***", None), ("*******", None), ("***ilia", None), ("*ilis", None)],
)
def test_a_masked_name(name: str, expected: str | None) -> None:
    """The app may show the last four characters of a name only, and its length."""
    sim = Sim(1, phone_number="*********0002", carrier_name=name, iccid="***************0123")

    assert expected == carrier_of_sim(sim, "DZ")
