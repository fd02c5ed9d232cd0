"""Numbers that can be read in one way only are written out; the others are left to espeak-ng."""

from __future__ import annotations

import pytest
from frontends import create_espeak

from piper.text.frontend import TextOptions, TextPreparer
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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("в 2024 году", "в две тысячи двадцать четвёртом году"),
        ("к 2024 году", "к две тысячи двадцать четвёртому году"),
        ("до 1812 года", "до тысяча восемьсот двенадцатого года"),
        ("весной 1999 г. Потом", "весной тысяча девятьсот девяносто девятого года. Потом"),
        ("в 1990 г. он", "в тысяча девятьсот девяностом году он"),
        (
            "1941–1945 гг.",
            "тысяча девятьсот сорок первый — тысяча девятьсот сорок пятый годы",
        ),
        ("3 года, 5 лет", "три года, пять лет"),
        ("1 200 руб. за штуку", "одна тысяча двести рублей за штуку"),
        ("до 1\u00a0200 руб. в час", "до одной тысячи двухсот рублей в час"),
        ("5 руб. 50 коп. Да", "пять рублей пятьдесят копеек. Да"),
        ("21 руб., 2 руб. Да.", "двадцать один рубль, два рубля. Да."),
        (
            "5 млн руб., $5, 3 тыс. человек",
            "пять миллионов рублей, пять долларов, три тысячи человек",
        ),
        ("12.05.2024", "двенадцатого мая две тысячи двадцать четвёртого года"),
        ("к 8 марта, 9 мая", "к восьмому марта, девятого мая"),
        ("в 14:30, в 9:05", "в четырнадцать тридцать, в девять ноль пять"),
        ("в XX веке, XXI в. Он", "в двадцатом веке, двадцать первый век. Он"),
        ("5-й этаж, 5-й странице", "пятый этаж, пятой странице"),
        ("90-е годы, в 5-м классе", "девяностые годы, в пятом классе"),
        ("5-летний, 40-этажный", "пятилетний, сорокаэтажный"),
        (
            "1,5 кг, 25%, -5 °C",
            "одна целая пять десятых килограмма, двадцать пять процентов, "
            "минус пять градусов Цельсия",
        ),
        ("60 км/ч, 10 м²", "шестьдесят километров в час, десять квадратных метров"),
        ("2 книги, 5 книг, 1 книгу", "две книги, пять книг, одну книгу"),
        ("с 5 друзьями о 3 книгах", "с пятью друзьями о трёх книгах"),
        ("около 20 человек, 2 из 10", "около двадцати человек, два из десяти"),
        ("2 большие книги", "две большие книги"),
        ("5 с половиной. Глава 5 В лесу", "пять с половиной. Глава пять В лесу"),
        ("т. е. так, и т. д. Он", "то есть так, и так далее. Он"),
        ("в г. Москве на ул. Ленина, д. 5", "в городе Москве на улице Ленина, дом пять"),
        ("5–10 минут, 007, № 5", "пять-десять минут, ноль ноль семь, номер пять"),
        ("v2.0, 192.168.0.1, A4, x5", "v2.0, 192.168.0.1, A4, x5"),
        ("Ничего. Совсем, т о", "Ничего. Совсем, т о"),
    ],
)
def test_russian_numbers(text: str, words: str) -> None:
    assert write_out("ru", text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("$5.50, £3 million, $1", "five dollars and fifty cents, three million pounds, one dollar"),
        ("in 2024, since 1905", "in twenty twenty-four, since nineteen oh-five"),
        ("1,200 people in the 1990s", "one thousand two hundred people in the nineteen nineties"),
        ("3.14, 21st, -5", "three point one four, twenty-first, minus five"),
        ("3:30 pm, 9:00, 10:05", "three thirty PM, nine o'clock, ten oh five"),
        ("May 5, 2024", "May fifth, twenty twenty-four"),
        (
            "5 kg, 1 km, 60 mph, 25%",
            "five kilograms, one kilometer, sixty miles per hour, twenty-five percent",
        ),
        ("Dr. Smith, Mr. and Mrs. Jones", "Doctor Smith, Mister and Missis Jones"),
        ("Main St. near St. Paul", "Main Street near Saint Paul"),
        ("e.g. this, etc. He", "for example this, et cetera. He"),
        ("5-10 minutes, No. 7", "five to ten minutes, number seven"),
        ("v2.0, 1/2, B52, 555-1234", "v2.0, 1/2, B52, 555-1234"),
    ],
)
def test_english_numbers(text: str, words: str) -> None:
    assert write_out("en-us", text) == words


def test_other_languages_have_no_writer() -> None:
    assert find_writer("fr") is None


def test_the_words_of_a_number_are_one_word_of_the_text() -> None:
    options = TextOptions(write_numbers=True)
    frontend = create_espeak("ru", options=options)
    text = "Это 1 200 руб. за штуку. В [[5]] 5."
    first, second = frontend.text_to_sentences(text)
    assert first.text == "Это 1 200 руб. за штуку."
    assert [word.text for word in first.words] == ["Это", "1 200 руб.", "за", "штуку"]
    number = first.words[1]
    said = "".join(first.phonemes[number.first_phoneme : number.last_phoneme])
    assert said.startswith("ʌdnˈɑ tˈysʲʌtʃʲʌ dvʲˈesʲtʲɪ")
    assert [word.text for word in second.words] == ["В", "[[5]]", "5"]


def test_by_default_numbers_are_left_to_espeak() -> None:
    plain = create_espeak("ru")
    written = create_espeak("ru", options=TextOptions(write_numbers=True))
    assert plain.text_to_phonemes("в 5 году") != written.text_to_phonemes("в 2005 году")
    assert plain.text_to_phonemes("пять") == written.text_to_phonemes("5")


@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        # After a dot espeak-ng takes a small letter for the sentence's going on.
        ("en-us", "It was cold. 3 men came.", "It was cold. Three men came."),
        ("en-us", "“It was cold.” 3 men came.", "“It was cold.” Three men came."),
        ("en-us", "It was $5. 10 men came to Acme Inc. 3 left.", None),
        ("en-us", "In 1999 it fell. 2000 came. 5th Avenue.", None),
        ("en-us", "See fig. 3 on p. 5.", "See fig. three on p. five."),
        ("en-us", "At 9:15 a.m. Then we left.", "At nine fifteen AM. Then we left."),
        ("en-us", "At 9:15 a.m. we left.", "At nine fifteen AM we left."),
        ("en-us", "3:00 AM or 10:30 P.M.", "three AM or ten thirty PM."),
        ("en-us", "–5 °C. −3.5%. -1.2 degrees", None),
        # "May third men", and five meters of dollars.
        ("en-us", "It was May. 3 men came.", "It was May. Three men came."),
        ("en-us", "$5m. €3.2bn.", "five million dollars. Three point two billion euros."),
        ("en-us", "US$5. $5kg.", None),
        ("en-us", "from 9 a.m.–5 p.m.", "from nine a.m.–five p.m."),
        ("ru", "Было холодно. 3 человека пришли.", "Было холодно. Три человека пришли."),
        ("ru", "5 кг. 3 человека. 2024 г. 10 дней.", None),
        ("ru", "И т. д. 3 человека", "И так далее. Три человека"),
        ("ru", "-1.2 градуса", "минус одна целая две десятых градуса"),
        ("ru", "–5 °C", "минус пять градусов Цельсия"),
    ],
)
def test_what_is_written_out_keeps_the_sentences(
    language: str, text: str, words: str | None
) -> None:
    prepared = TextPreparer(language, TextOptions(write_numbers=True, stress="marks")).prepare(text)
    if words is not None:
        assert prepared.rewritten.text == words
    counts = []
    for is_written in (False, True):
        options = TextOptions(write_numbers=is_written)
        frontend = create_espeak(language, options=options)
        counts.append(len(frontend.text_to_phonemes(text)))
    assert counts[0] == counts[1]
    for sign in "–−-":
        assert f"{sign}5" not in prepared.rewritten.text


@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        ("en", "World War II, World War I was", "World War two, World War one was"),
        ("en", "Henry VIII, John Paul II.", "Henry the Eighth, John Paul the Second."),
        ("en", "Chapter IV, Rocky II, Type V", "Chapter four, Rocky two, Type five"),
        ("en", "the part I like, Size XL, The IV drip", "the part I like, Size XL, The IV drip"),
        ("en", "Henry I was told, vitamin C", "Henry I was told, vitamin C"),
        ("ru", "Петра I, при Екатерине II", "Петра первого, при Екатерине второй"),
        ("ru", "в главе IV, том III", "в главе четвёртой, том третий"),
        ("ru", "II мировая война", "вторая мировая война"),
        ("ru", "витамин С, Он V, она X", "витамин С, Он V, она X"),
    ],
)
def test_roman_numbers_after_names(language: str, text: str, words: str) -> None:
    assert write_out(language, text) == words
