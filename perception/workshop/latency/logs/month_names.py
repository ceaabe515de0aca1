"""The months as `journalctl` writes them, from the abbreviations that glibc's locales give (strftime's %b)."""

from __future__ import annotations

import re
import unicodedata

# English, German, French, Spanish, Italian, Portuguese, Dutch, Norwegian, Polish, Czech, Hungarian, Romanian, Finnish,
# Turkish, Indonesian, Catalan, Greek, Russian and Ukrainian; Swedish, Danish and Slovak have the names of others.
_NAMES = (
    "jan jän janv ene gen sty led ian tammi oca ιαν янв січ",
    "feb fév févr fev lut úno febr helmi şub φεβ фев лют",
    "mar mär mars mrt bře márc maalis març μαρ мар бер",
    "apr avr avril abr april kwi dub ápr huhti nis απρ апр кві",
    "may mai mag mei maj kvě máj touko maig μαι май мая тра",
    "jun juin giu juni cze čen jún iun kesä haz juny ιουν июн чер",
    "jul juil lug juli lip čec júl iul heinä tem ιουλ июл лип",
    "aug août ago sie srp elo ağu agu ag αυγ авг сер",
    "sep sept set wrz zář szept syys eyl σεπ сен вер",
    "oct okt ott out paź říj loka eki οκτ окт жов",
    "nov lis marras kas νοε ноя",
    "dec dez déc dic des gru pro joulu ara δεκ дек",
)


def month_of(name: str) -> int | None:
    """Return the month, 1 to 12, of an abbreviation in one of the languages, or None.

    A sign that was lost in decoding (U+FFFD) stands for any one. Chinese, Japanese and Korean number the months.
    """
    if found := re.fullmatch(r"(\d{1,2})[月월]", name):
        number = int(found[1])
        return number if 1 <= number <= 12 else None
    wanted = _folded(name.rstrip("."))
    if "\N{REPLACEMENT CHARACTER}" not in wanted:
        return _MONTHS.get(wanted)
    pattern = re.compile(".".join(map(re.escape, wanted.split("\N{REPLACEMENT CHARACTER}"))))
    months = {month for known, month in _MONTHS.items() if pattern.fullmatch(known)}
    return months.pop() if len(months) == 1 else None


def _folded(name: str) -> str:
    """Without accents and capitals."""
    apart = unicodedata.normalize("NFKD", name.casefold())
    return "".join(sign for sign in apart if not unicodedata.combining(sign))


_MONTHS = {_folded(name): month for month, names in enumerate(_NAMES, 1) for name in names.split()}
