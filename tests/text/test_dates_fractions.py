"""Numbers that can be read in one way only are written out; the others are left to espeak-ng."""

from __future__ import annotations

import pytest

from piper.text.numbers.engine import find_writer, parse_fraction, parse_roman
from piper.text.sentence import RewrittenText


def write_out(language: str, text: str) -> str:
    writer = find_writer(language)
    assert writer is not None
    return RewrittenText(text).replace(writer(text)).text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2024-05-12", "двенадцатого мая две тысячи двадцать четвёртого года"),
        ("к 2024-05-12 всё", "к двенадцатому мая две тысячи двадцать четвёртого года всё"),
        ("на 12.05.2024 г. Он", "на двенадцатое мая две тысячи двадцать четвёртого года. Он"),
        ("25/12/2024", "двадцать пятого декабря две тысячи двадцать четвёртого года"),
        ("с 1 по 5 мая", "с первого по пятое мая"),
        ("с 5 на 6 мая, 5 и 6 июня", "с пятого на шестое мая, пятого и шестого июня"),
        ("1–5 мая 2024 года", "первого — пятого мая две тысячи двадцать четвёртого года"),
        (
            "с 1941 по 1945 год",
            "с тысяча девятьсот сорок первого по тысяча девятьсот сорок пятый год",
        ),
        ("с 10:30 до 18:05", "с десяти тридцати до восемнадцати ноль пяти"),
        ("10:30–11:00", "десять тридцать — одиннадцать ноль ноль"),
    ],
)
def test_russian_dates_and_times(text: str, words: str) -> None:
    assert write_out("ru", text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("XIX век, в XIX в. жил", "девятнадцатый век, в девятнадцатом веке жил"),
        ("к XXI веку, XX веком", "к двадцать первому веку, двадцатым веком"),
        ("в XIX–XX веках", "в девятнадцатом — двадцатом веках"),
        ("XV–XVI вв. Он", "пятнадцатый — шестнадцатый века. Он"),
        ("с XVIII по XX век", "с восемнадцатого по двадцатый век"),
        ("в XX столетии", "в двадцатом столетии"),
        ("ХХ век", "двадцатый век"),  # Cyrillic letters
        ("IIX век, Пётр I, глава IV", "IIX век, Пётр первый, глава четвёртая"),
    ],
)
def test_russian_centuries(text: str, words: str) -> None:
    assert write_out("ru", text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("½ стакана, ¼, ¾ пути", "одна вторая стакана, одна четверть, три четверти пути"),
        ("через ½ часа, к ⅓", "через одну вторую часа, к одной трети"),
        ("2½ часа, до 2½ часов", "две целых одна вторая часа, до двух целых одной второй часов"),
        ("1/2 стакана, 2 1/2 кг", "одна вторая стакана, две целых одна вторая килограмма"),
        ("2/3 голосов, до 3/4 населения", "две трети голосов, до трёх четвертей населения"),
        ("2/5 км/ч, с 5/6 веса", "две пятых километра в час, с пятью шестыми веса"),
        ("1/2, дом 3/4, д. 1/2, 24/7", "1/2, дом 3/4, дом 1/2, 24/7"),
    ],
)
def test_russian_fractions(text: str, words: str) -> None:
    assert write_out("ru", text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "3,5 %, 3.5%, на 1,5%",
            "три целых пять десятых процента, три целых пять десятых процента, "
            "на одну целую пять десятых процента",
        ),
        ("10–15 %, до 10–15 кг", "десять-пятнадцать процентов, до десяти-пятнадцати килограммов"),
        ("10–15, около 5-10 человек", "десять-пятнадцать, около пяти-десяти человек"),
        ("1,5–2 л, €10–20", "одна целая пять десятых — два литра, десять-двадцать евро"),
        ("$1,5 млн", "одна целая пять десятых миллиона долларов"),
        ("−5 °C, +5 °С", "минус пять градусов Цельсия, плюс пять градусов Цельсия"),
        ("от −5 до +3 °C", "от минус пяти до плюс трёх градусов Цельсия"),
        (
            "при +25 °C, 70 °F",
            "при плюс двадцати пяти градусах Цельсия, семьдесят градусов Фаренгейта",
        ),
        ("15%-го, 100%-ная", "пятнадцатипроцентного, стопроцентная"),
        ("1990-е, 90-е годы", "тысяча девятьсот девяностые, девяностые годы"),
        ("№№ 1-5", "номера один-пять"),
    ],
)
def test_russian_measures(text: str, words: str) -> None:
    assert write_out("ru", text) == words


@pytest.mark.parametrize(
    "text",
    [
        "12/05/2024, 31.02.2024, 2024-13-45, 12.05.24, 12.05, 2024-05-12T10:00, 25:99",
        "123-45-67, +375 29 123-45-67, 555-35-35",
        "1.2.3, 1:2, 1.200, 10.30 ч, 2.5 г",
    ],
)
def test_what_can_be_read_in_two_ways_is_left_in_russian(text: str) -> None:
    assert write_out("ru", text) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2024-05-12", "May twelfth, twenty twenty-four"),
        ("on 12/25/2024", "on December twenty-fifth, twenty twenty-four"),
        ("25.12.2024", "December twenty-fifth, twenty twenty-four"),
        (
            "1941–1945, 10:30-11:00",
            "nineteen forty-one to nineteen forty-five, ten thirty to eleven o'clock",
        ),
        ("the XIX century", "the nineteenth century"),
        ("XIX–XX centuries", "nineteenth to twentieth centuries"),
        ("½ cup, 2½, 1 1/8 miles", "one half cup, two and a half, one and an eighth miles"),
        ("2/3 of it, 3/4 cup, 1/2 an hour", "two thirds of it, three quarters cup, half an hour"),
        (
            "10-15%, $5-10, 10–15 kg",
            "ten to fifteen percent, five to ten dollars, ten to fifteen kilograms",
        ),
        ("-$5, €-2.5 million", "minus five dollars, minus two point five million euros"),
        ("+5 °C, −5 °C", "plus five degrees Celsius, minus five degrees Celsius"),
    ],
)
def test_english(text: str, words: str) -> None:
    assert write_out("en-us", text) == words


@pytest.mark.parametrize(
    "text",
    [
        "12/05/2024, 2024-02-30, 13/13/2024, 1.2.2024",
        "page 1/2, 5/6 we met, 24/7, MIX century",
        "(555) 123-4567, +1 555 123 4567, 555.123.4567, 1-800-555-1234",
    ],
)
def test_what_can_be_read_in_two_ways_is_left_in_english(text: str) -> None:
    assert write_out("en-us", text) == text


def test_roman_numbers() -> None:
    assert [parse_roman(text) for text in ("I", "IV", "XIX", "XL", "XC", "CCCXCIX")] == [
        *(1, 4, 19, 40, 90, 399)
    ]
    assert [parse_roman(text) for text in ("IIX", "IIII", "VX", "IXX", "CCCC")] == [None] * 5


def test_fractions() -> None:
    assert [parse_fraction(text) for text in ("½", "⅔", "⅞", "1/2", "3⁄4")] == [
        *((1, 2), (2, 3), (7, 8), (1, 2), (3, 4))
    ]
    assert [parse_fraction(text) for text in ("2/1", "3/3", "0/5", "05/8", "5/13")] == [None] * 5
