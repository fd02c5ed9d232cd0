"""Names of languages and countries, as published voices' JSON has them, from espeak-ng's voices."""

from __future__ import annotations

import re

_LANGUAGES = {
    "ar": ("العربية", "Arabic", "JO"),
    "bg": ("български", "Bulgarian", "BG"),
    "bn": ("বাংলা", "Bengali", "BD"),
    "ca": ("Català", "Catalan", "ES"),
    "cs": ("Čeština", "Czech", "CZ"),
    "cy": ("Cymraeg", "Welsh", "GB"),
    "da": ("Dansk", "Danish", "DK"),
    "de": ("Deutsch", "German", "DE"),
    "el": ("Ελληνικά", "Greek", "GR"),
    "en": ("English", "English", "GB"),
    "es": ("Español", "Spanish", "ES"),
    "et": ("Eesti", "Estonian", "EE"),
    "eu": ("Euskara", "Basque", "ES"),
    "fa": ("فارسی", "Farsi", "IR"),
    "fi": ("Suomi", "Finnish", "FI"),
    "fr": ("Français", "French", "FR"),
    "he": ("עברית", "Hebrew", "IL"),
    "hi": ("हिन्दी", "Hindi", "IN"),
    "hr": ("Hrvatski", "Croatian", "HR"),
    "hu": ("Magyar", "Hungarian", "HU"),
    "id": ("Bahasa Indonesia", "Indonesian", "ID"),
    "is": ("íslenska", "Icelandic", "IS"),
    "it": ("Italiano", "Italian", "IT"),
    "ja": ("日本語", "Japanese", "JP"),
    "ka": ("ქართული ენა", "Georgian", "GE"),
    "kk": ("қазақша", "Kazakh", "KZ"),
    "ko": ("한국어", "Korean", "KR"),
    "ku": ("Kurdî", "Kurdish", "TR"),
    "lb": ("Lëtzebuergesch", "Luxembourgish", "LU"),
    "lt": ("Lietuvių", "Lithuanian", "LT"),
    "lv": ("Latviešu", "Latvian", "LV"),
    "ml": ("മലയാളം", "Malayalam", "IN"),
    "ne": ("नेपाली", "Nepali", "NP"),
    "nl": ("Nederlands", "Dutch", "NL"),
    "no": ("Norsk", "Norwegian", "NO"),
    "pl": ("Polski", "Polish", "PL"),
    "pt": ("Português", "Portuguese", "PT"),
    "ro": ("Română", "Romanian", "RO"),
    "ru": ("Русский", "Russian", "RU"),
    "sk": ("Slovenčina", "Slovak", "SK"),
    "sl": ("Slovenščina", "Slovenian", "SI"),
    "sq": ("Shqip", "Albanian", "AL"),
    "sr": ("srpski", "Serbian", "RS"),
    "sv": ("Svenska", "Swedish", "SE"),
    "sw": ("Kiswahili", "Swahili", "CD"),
    "te": ("తెలుగు", "Telugu", "IN"),
    "th": ("ไทย", "Thai", "TH"),
    "tr": ("Türkçe", "Turkish", "TR"),
    "uk": ("українська мова", "Ukrainian", "UA"),
    "ur": ("اردو", "Urdu", "PK"),
    "vi": ("Tiếng Việt", "Vietnamese", "VN"),
    "zh": ("简体中文", "Chinese", "CN"),
}
"""Own name, English name, and the country that is meant where none is said."""

_COUNTRIES = {
    "AL": "Albania",
    "AR": "Argentina",
    "AT": "Austria",
    "AU": "Australia",
    "BD": "Bangladesh",
    "BE": "Belgium",
    "BG": "Bulgaria",
    "BR": "Brazil",
    "CA": "Canada",
    "CH": "Switzerland",
    "CN": "China",
    "CZ": "Czech Republic",
    "DE": "Germany",
    "DK": "Denmark",
    "EE": "Estonia",
    "ES": "Spain",
    "FI": "Finland",
    "FR": "France",
    "GB": "Great Britain",
    "GE": "Georgia",
    "GR": "Greece",
    "HK": "Hong Kong",
    "HR": "Croatia",
    "HU": "Hungary",
    "ID": "Indonesia",
    "IE": "Ireland",
    "IL": "Israel",
    "IN": "India",
    "IR": "Iran",
    "IS": "Iceland",
    "IT": "Italy",
    "JO": "Jordan",
    "JP": "Japan",
    "KR": "South Korea",
    "KZ": "Kazakhstan",
    "LT": "Lithuania",
    "LU": "Luxembourg",
    "LV": "Latvia",
    "MX": "Mexico",
    "NL": "Netherlands",
    "NO": "Norway",
    "NP": "Nepal",
    "NZ": "New Zealand",
    "PK": "Pakistan",
    "PL": "Poland",
    "PT": "Portugal",
    "RO": "Romania",
    "RS": "Serbia",
    "RU": "Russia",
    "SE": "Sweden",
    "SI": "Slovenia",
    "SK": "Slovakia",
    "TH": "Thailand",
    "TR": "Turkey",
    "TW": "Taiwan",
    "UA": "Ukraine",
    "US": "United States",
    "VN": "Vietnam",
    "ZA": "South Africa",
    "CD": "Democratic Republic of the Congo",
}

_OF_ESPEAK = {"nb": "no", "cmn": "zh", "yue": "zh", "es-419": "es-mx", "fa-latn": "fa"}
"""espeak-ng's names that are not the published voices'."""


def describe_language(espeak_voice: str) -> dict[str, str]:
    """Return the `language` object of a voice's JSON, as published voices have it.

    Of a language that is not known here it says what espeak-ng's name of it (`en-gb-x-rp`) says.
    """
    name = espeak_voice.lower().replace("_", "-")
    family, _, rest = _OF_ESPEAK.get(name, name).partition("-")
    family = _OF_ESPEAK.get(family, family)
    # There is more than countries in these names: en-gb-scotland, en-029, vi-vn-x-south.
    country = rest.partition("-")[0].upper()
    native, english, usual = _LANGUAGES.get(family, ("", "", ""))
    region = country if re.fullmatch("[A-Z]{2}", country) else usual
    code = f"{family}_{region}" if region else family
    names = {"name_native": native, "name_english": english}
    names["country_english"] = _COUNTRIES.get(region, "")
    said = {"code": code, "family": family, "region": region, **names}
    return {key: value for key, value in said.items() if value}


def normalise_code(code: str) -> str:
    """Return a language's code as `ru_RU`, whether it was written `ru-ru`, `RU_ru` or `ru`."""
    family, _, rest = code.strip().replace("-", "_").partition("_")
    region = rest.partition("_")[0]
    return f"{family.lower()}_{region.upper()}" if len(region) == 2 else family.lower()
