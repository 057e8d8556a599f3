"""Facts about mobile networks: which carrier a SIM belongs to, its name and its country.

A carrier is MCC+MNC as text: five or six ASCII digits, `60302` for Djezzy. Countries are ISO 3166-1 alpha-2.
Sources: ITU-T E.212 (Operational Bulletin 1162, "Mobile Network Codes"), compared with Wikipedia's list and Android's MccTable.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

_CARRIERS: Final[Mapping[str, tuple[str, str]]] = {
    "60301": ("DZ", "Mobilis"),
    "60302": ("DZ", "Djezzy"),
    "60303": ("DZ", "Ooredoo"),
    "60400": ("MA", "Orange"),
    "60401": ("MA", "Maroc Telecom"),
    "60402": ("MA", "inwi"),
    "60501": ("TN", "Orange"),
    "60502": ("TN", "Tunisie Telecom"),
    "60503": ("TN", "Ooredoo"),
}

# One network under two codes. Numbers map to the first, so a SIM with the second has to count as the same carrier to be found.
_SAME_CARRIER: Final[Mapping[str, str]] = {"60405": "60402"}

# An MCC that serves several territories stands for the one it was assigned to first (340 is Guadeloupe, also for Martinique).
# Shared and test codes (001, 901, 999) belong to no country and are left out.
_MCC_TABLE: Final = """
    202 GR  204 NL  206 BE  208 FR  212 MC  213 AD  214 ES  216 HU  218 BA  219 HR  220 RS  221 XK  222 IT  225 VA  226 RO  228 CH
    230 CZ  231 SK  232 AT  234 GB  235 GB  238 DK  240 SE  242 NO  244 FI  246 LT  247 LV  248 EE  250 RU  255 UA  257 BY  259 MD
    260 PL  262 DE  266 GI  268 PT  270 LU  272 IE  274 IS  276 AL  278 MT  280 CY  282 GE  283 AM  284 BG  286 TR  288 FO  289 GE
    290 GL  292 SM  293 SI  294 MK  295 LI  297 ME
    302 CA  308 PM  310 US  311 US  312 US  313 US  314 US  315 US  316 US  330 PR  332 VI  334 MX  338 JM  340 GP  342 BB  344 AG
    346 KY  348 VG  350 BM  352 GD  354 MS  356 KN  358 LC  360 VC  362 CW  363 AW  364 BS  365 AI  366 DM  368 CU  370 DO  372 HT
    374 TT  376 TC
    400 AZ  401 KZ  402 BT  404 IN  405 IN  406 IN  410 PK  412 AF  413 LK  414 MM  415 LB  416 JO  417 SY  418 IQ  419 KW  420 SA
    421 YE  422 OM  424 AE  425 IL  426 BH  427 QA  428 MN  429 NP  430 AE  431 AE  432 IR  434 UZ  436 TJ  437 KG  438 TM  440 JP
    441 JP  450 KR  452 VN  454 HK  455 MO  456 KH  457 LA  460 CN  461 CN  466 TW  467 KP  470 BD  472 MV
    502 MY  505 AU  510 ID  514 TL  515 PH  520 TH  525 SG  528 BN  530 NZ  534 MP  535 GU  536 NR  537 PG  539 TO  540 SB  541 VU
    542 FJ  543 WF  544 AS  545 KI  546 NC  547 PF  548 CK  549 WS  550 FM  551 MH  552 PW  553 TV  554 TK  555 NU
    602 EG  603 DZ  604 MA  605 TN  606 LY  607 GM  608 SN  609 MR  610 ML  611 GN  612 CI  613 BF  614 NE  615 TG  616 BJ  617 MU
    618 LR  619 SL  620 GH  621 NG  622 TD  623 CF  624 CM  625 CV  626 ST  627 GQ  628 GA  629 CG  630 CD  631 AO  632 GW  633 SC
    634 SD  635 RW  636 ET  637 SO  638 DJ  639 KE  640 TZ  641 UG  642 BI  643 MZ  645 ZM  646 MG  647 RE  648 ZW  649 NA  650 MW
    651 LS  652 BW  653 SZ  654 KM  655 ZA  657 ER  658 SH  659 SS
    702 BZ  704 GT  706 SV  708 HN  710 NI  712 CR  714 PA  716 PE  722 AR  724 BR  730 CL  732 CO  734 VE  736 BO  738 GY  740 EC
    742 GF  744 PY  746 SR  748 UY  750 FK
"""
_COUNTRY_OF_MCC: Final[Mapping[str, str]] = dict(zip(_MCC_TABLE.split()[::2], _MCC_TABLE.split()[1::2], strict=True))

# Where every MNC in use has three digits. Countries that mix both lengths (India 405, Malaysia 502, Panama 714) are read as two.
_THREE_DIGIT_TABLE: Final = """
    302 310 311 312 313 314 315 316 330 334 338 342 344 346 348 352 354 356 358 360 365 366 376 708 722 732 750
"""
_THREE_DIGIT_MNC: Final = frozenset(_THREE_DIGIT_TABLE.split())

_SHORTEST_IMSI: Final = 6


def is_carrier(text: str) -> bool:
    """Whether `text` has the shape of a carrier: five or six ASCII digits that start with a known MCC. The MNC may be unknown."""
    return len(text) in (5, 6) and text.isascii() and text.isdigit() and text[:3] in _COUNTRY_OF_MCC


def canonical_carrier(carrier: str) -> str:
    """The code a carrier is known by here: `60402` for `60405` (both are inwi), any other text as it is."""
    return _SAME_CARRIER.get(carrier, carrier)


def carrier_name(carrier: str) -> str:
    """The name people know, "Djezzy" for `60302`; the code itself where we have no name."""
    known = _CARRIERS.get(canonical_carrier(carrier))
    return known[1] if known else carrier


def country_of_carrier(carrier: str) -> str | None:
    """The ISO country of a carrier, by its MCC; None when `carrier` is not one."""
    return _COUNTRY_OF_MCC[carrier[:3]] if is_carrier(carrier) else None


def carrier_of_imsi(imsi: str) -> str | None:
    """The (canonical) carrier that issued the SIM of an IMSI; None for what is not an IMSI or has no country.

    An IMSI does not say how long its MNC is (ITU-T E.212): that depends on the country.
    """
    if len(imsi) < _SHORTEST_IMSI or not (imsi.isascii() and imsi.isdigit()) or imsi[:3] not in _COUNTRY_OF_MCC:
        return None
    return canonical_carrier(imsi[: 6 if imsi[:3] in _THREE_DIGIT_MNC else 5])


def carriers_of_country(country: str) -> tuple[str, ...]:
    """The carriers with a name of an ISO country, in order of their code, each network once; empty where we have none."""
    return tuple(carrier for carrier, (home, _) in _CARRIERS.items() if home == country)


def carrier_by_name(country: str, name: str) -> str | None:
    """The carrier of an ISO country by its name, whatever the case; None when unknown."""
    return _BY_NAME.get((country, name.casefold()))


_BY_NAME: Final[Mapping[tuple[str, str], str]] = {(home, name.casefold()): carrier for carrier, (home, name) in _CARRIERS.items()}


# What phones show as the name of a SIM's network, besides the names above: companies, short and former names.
_ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "60301": ("atm mobilis", "mobilis atm", "algerie telecom mobile"),
    "60302": ("djezzy gsm", "ota", "orascom telecom algerie", "optimum telecom algerie"),
    "60303": ("nedjma", "wataniya telecom algerie", "wta"),
    "60400": ("meditel", "medi telecom"),
    "60401": ("iam", "itissalat al maghrib"),
    "60402": ("wana",),
    "60502": ("tunicell",),
    "60503": ("tunisiana",),
}
_COUNTRY_WORDS: Final[Mapping[str, str]] = {
    "dz": "DZ", "algerie": "DZ", "algeria": "DZ", "tn": "TN", "tunisie": "TN", "tunisia": "TN", "ma": "MA", "maroc": "MA", "morocco": "MA",
}  # fmt: skip
_NOISE_WORDS: Final = frozenset({"2g", "3g", "4g", "5g", "lte", "4g+", "4glte", "hspa", "volte"})
_WORD: Final = re.compile(r"[a-z0-9+]+")
_CALLING_CODES: Final[Mapping[str, str]] = {"212": "MA", "213": "DZ", "216": "TN"}
_ICCID: Final = re.compile(r"89[0-9]{16,18}")
_ISSUERS: Final[Mapping[str, str]] = {"8921301": "60301"}


def carriers_by_label(label: str) -> tuple[str, ...]:
    """The carriers that a phone may mean by the name that it shows for a SIM: `Djezzy 4G`, `ATM Mobilis`, `Orange MA`; often none.

    A name that several countries know (Orange, Ooredoo) gives several. One with a word unknown to us gives none: `Orange F` is French.
    SMSGate's app may tell a name with all but its last four characters as stars: `***ilis`.
    """
    if label.startswith("*"):
        tail = label.lstrip("*").casefold()
        masked = [carriers for name, carriers in _BY_LABEL.items() if tail and len(name) == len(label) and name.endswith(tail)]
        return tuple(dict.fromkeys(carrier for carriers in masked for carrier in carriers))
    plain = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode().casefold()
    words = [word for word in _WORD.findall(plain) if word not in _NOISE_WORDS]
    whole = _BY_LABEL.get(" ".join(words), ())
    if whole or len(words) < 2 or words[-1] not in _COUNTRY_WORDS:
        return whole
    named = _BY_LABEL.get(" ".join(words[:-1]), ())
    return tuple(carrier for carrier in named if country_of_carrier(carrier) == _COUNTRY_WORDS[words[-1]])


def is_iccid(text: str) -> bool:
    """Whether `text` is the number of a SIM card: 18 to 20 digits that begin with 89 (ITU-T E.118)."""
    return _ICCID.fullmatch(text) is not None


def country_of_iccid(iccid: str) -> str | None:
    """The ISO country that issued a SIM card: after the 89 stands a country calling code (ITU-T E.118). None where we have no carriers."""
    return _CALLING_CODES.get(iccid[2:5]) if is_iccid(iccid) else None


def carrier_of_iccid(iccid: str) -> str | None:
    """The carrier that issued a SIM card, where its issuer's number is registered with the ITU; None else.

    Source: ITU-T E.118, list of issuer identifier numbers, as in bifravst/e118-iin-list (2025-02-17). Of Algeria, Morocco and Tunisia it
    has one entry, 89 213 01 for ATM Mobilis. Other issuers there are known from single cards only, and so not to us.
    """
    return _ISSUERS.get(iccid[:7]) if is_iccid(iccid) else None


def _labels() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for carrier, (_, name) in _CARRIERS.items():
        for label in (name.casefold(), *_ALIASES.get(carrier, ())):
            found[label] = (*found.get(label, ()), carrier)
    return found


_BY_LABEL: Final[Mapping[str, tuple[str, ...]]] = _labels()
