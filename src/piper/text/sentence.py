"""Clauses become sentences: finds the punctuation that ended a clause.

espeak-ng reads a text clause by clause, but version 1.52 does not say what ended a clause. The
rules here find it again from the characters that the clause consumed. They follow espeak-ng's own
(its `readclause.c`, its character properties, and its behaviour). They only interpret clauses and
never cut them, so a rule that is wrong somewhere costs a mark and not the text.

espeak-ng does not say which word it is speaking when it only gives phonemes, joins some words
(`of the` is one) and makes several of others (numbers). So each word is also spoken alone, and what
the words give one after the other is aligned with what the clause gave: the words' borders follow.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

ELLIPSIS = "…"

# (characters, mark, whether a sentence ends, whether no space is needed after), as espeak-ng 1.52
# classes them. A mark of "" is punctuation that ends a clause and leaves nothing in the phonemes.
_CLASSES: tuple[tuple[str, str, bool, bool], ...] = (
    (
        ".\u06d4\u0701\u0704\u1362\u166e\u1803\u1809⒈⒉⒊⒋⒌⒍⒎⒏⒐⒑⒒⒓⒔⒕⒖⒗⒘⒙⒚⒛\u2cf9\u2cfe\u2e33\u2e3c"
        "\ua4ff\ua60e\ua6f3\ufe12\ufe52\uff61\U00016af5\U0001bc9f\U0001da88\U0001f100\U000e002e",
        ".",
        True,
        False,
    ),
    ("\u0589\u0964\u0df4\u0f0d。．", "", True, True),
    (
        "?\u037e\u061f\u0709\u1367\u1945⁇❓❔\u2cfa\u2cfb\ua60f\ua6f7\ufe16\ufe56"
        "\U00011143\U0001e95f\U000e003f",
        "?",
        True,
        False,
    ),
    ("！？", "", True, True),
    ("!\u0703\u07f9\u1944‼❕❗❢❣\ufe15\ufe57\U0001e95e\U000e0021", "!", True, False),
    (
        ",\u055d\u060c\u0702\u07f8\u0f14\u1363\u1802\u1808\u2e32\u2e34\u2e41\ua4fe\ua60d\ua6f5"
        "\ufe10\ufe11\ufe50\ufe51\uff64\U0001144d\U0001da87🄁🄂🄃🄄🄅🄆🄇🄈🄉🄊\U000e002c",
        ",",
        False,
        False,
    ),
    (
        ":\u0706\u0707\u1365\u1366\u1804\u2982\ua6f4\ufe13\ufe55"
        "\U00012471\U00012472\U0001da8a\U000e003a",
        ":",
        False,
        False,
    ),
    (
        ";\u0387\u061b\u0708\u1364\u204f\u2e35\ua6f6\ufe14\ufe54\U0001da89\U000e003b"
        "\u2013\u2014\u2e3a\u2e3b\ufe31\ufe32",
        ";",
        False,
        False,
    ),
    ("、，：；¿¡\u0eaf\u1801…⋮⋯⋰⋱\ufe19", "", False, True),
    ("\u0700\u0965\u0f0e\u10fb\u1368\u2029", "", True, False),
)
# Marks inside an Armenian word: part of a run of punctuation, but they never end a clause.
_IN_WORD = "\u055b\u055c\u055e"
# Inverted marks open a clause; they ask for no pause before it.
_SILENT_MARKS = frozenset("¿¡") | frozenset(_IN_WORD)
# What espeak-ng counts as space: not the no-break spaces.
_SPACES = (
    "\t\n\v\f\r \x85\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2008\u2009\u200a"
    "\u2028\u2029\u205f\u3000"
)
_PARAGRAPH_SEPARATOR = "\u2029"
# espeak-ng cuts a clause where its buffer of 800 bytes is nearly full; no shorter one was cut.
_MIN_CUT_BYTES = 600
_BRACKETS = frozenset("()[]{}<>\"'`«»《》")

# Words whose dot ends no sentence before a capital letter: titles, and short forms that something
# always follows. In the order of `name`, and after `|` those before a number only. What may well
# end a sentence is not among them: etc., Inc., Jr., a.m.
_ABBREVIATIONS = {
    "en": "Mr Mrs Ms Mx Dr Prof Gen Capt Lt Col Maj Cmdr Adm Sgt Cpl Pvt Rev Hon Pres Gov Sen Rep "
    "Supt Messrs Mme Mlle St Mt Ft vs cf viz e.g i.e"
    "|No Nos fig figs vol vols ch eq sec Art p pp approx ca Jan Feb Mar Apr Jun Jul Aug Sep Sept "
    "Oct Nov Dec",
    "ru": "г ул им проф доц акад канд инж ген полк св пл просп пр пер пос р оз гр тов о д с ст "
    "англ лат нем фр греч напр см ср т.е т.к т.н"
    "|стр рис табл гл т п пп ч кв корп тел прим",
    "uk": "м вул ім проф доц акад св пл просп бул пров див напр т.зв|стор рис табл гл кв буд",
    "de": "Dr Prof Hr Hrn Fr Frl St Dipl Ing Mag Hl z.B d.h u.a o.ä bzw vgl evtl inkl ggf"
    "|Nr Abb Tab Kap Abs Art S Bd ca",
    "fr": "M MM Mme Mmes Mlle Mlles Mgr Dr Pr Me St Ste cf|art chap fig p pp vol env",
    "es": "Sr Sra Srta Sres Sras Dr Dra D Dña Prof Lic Ing Gral Sto Sta Fr Mons p.ej cf"
    "|núm pág págs art cap fig vol",
    "it": "Sig Sigg Dott Dr Prof Ing Avv Arch Geom Rag On Mons S cfr|art cap fig pag pagg vol",
    "pt": "Sr Sra Srta Srs Dr Dra Prof Profa Eng D Sto Sta p.ex cf|art cap fig pág págs vol núm",
    "nl": "Dhr Mevr Mw Mej Dr Drs Prof Ir Ing Mr St bijv d.w.z|nr blz art fig",
    "pl": "prof dr hab mgr inż ul al św ks o gen płk kpt np tzn tj|nr str rys tab rozdz art s",
}
# What stands before the same letters where they mean something else: `2024 г.`, `и т. д.`
_OTHERWISE = {
    "en": {"p": r"\d ", "No": r"[?!] "},
    "ru": {"г": r"\d ?", "р": r"\d ?", "д": r"\bт\. ?", "пр": r"\bи ", "с": r"\d ?", "т": r"\d ?"},
    "uk": {"м": r"\d ?"},
    "it": {"S": r"\w ?"},
    "pl": {"o": r"\w ?", "s": r"\d ?"},
}
# Before these a short form of one or two letters ends its sentence: `Main St. He`, `Plan B. Then`.
_STARTERS = (
    " he she it they we you the a an this that these those there then but and so when if what in "
    "on at my his her their our он она они оно мы вы ты это этот эта потом затем но а и в на тогда "
    "там тут здесь когда если как что "
)
_INITIAL = re.compile(
    r"(?<![\w.])(?P<more>(?:[^\W\d_]\. ?)*)(?P<last>[^\W\d_])\.$"  # `J. R. R.`, `А.С.`
)
# Before a letter that is no name: `Plan B. Then`.
_NAMED_BY_LETTERS = re.compile(
    r"\b(?:plan|vitamin|class|type|group|grade|section|part|appendix|option|figure|table|point|step|"
    r"team|gate|room|line|exhibit|hepatitis|план|витамин|класс|группа|пункт|часть|буква) $",
    re.IGNORECASE,
)
_NO_INITIALS = frozenset(["U.S", "U.K", "U.N", "U.S.A", "E.U", "D.C", "L.A", "N.Y", "P.S", "A.D"])
_NO_INITIALS |= frozenset(["B.C", "P.M", "A.M", "Н.Э", "Т.Д", "Т.П"])
_NAME_FOLLOWS = re.compile(r"(?:^|[^\w\s]|\b(?:by|of|and|with|to|from|for|и|с|у|к|от|для)) ?$")


@dataclass(frozen=True)
class Edit:
    """Characters from `start` to `end` become `text`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class RewrittenText:
    """A text made from a source by edits.

    Attributes:
        text: The text as it is now.
        spans: The characters of the source that each of its characters came from; None: it is the
            source.
    """

    text: str
    spans: list[tuple[int, int]] | None = None

    def replace(self, edits: Iterable[Edit]) -> RewrittenText:
        """Return the text after edits, which are in order and do not overlap."""
        edits = list(edits)
        if not edits:
            return self
        spans = self.spans or [(index, index + 1) for index in range(len(self.text))]
        new_text: list[str] = []
        new_spans: list[tuple[int, int]] = []
        end = 0
        for edit in edits:
            new_text += [self.text[end : edit.start], edit.text]
            new_spans += spans[end : edit.start]
            new_spans += [self.find_source(edit.start, edit.end)] * len(edit.text)
            end = edit.end
        return RewrittenText("".join(new_text) + self.text[end:], new_spans + spans[end:])

    def find_source(self, start: int, end: int) -> tuple[int, int]:
        """Return the characters of the source that those from `start` to `end` came from."""
        if self.spans is None:
            return start, end
        spans = self.spans[start:end]
        if not spans:  # between two characters, or at the end
            place = self.spans[start - 1][1] if start else 0
            return place, place
        return spans[0][0], max(last for _, last in spans)


@dataclass(frozen=True)
class Terminator:
    """What ended a clause.

    Attributes:
        mark: One of `. ? ! , : ;`, or empty where nothing is to be written.
        ends_sentence: Whether the sentence ends here too.
    """

    mark: str
    ends_sentence: bool


@dataclass(frozen=True)
class Clause:
    """What espeak-ng read and said in one step.

    Attributes:
        source: The characters of the clause, with its punctuation and the spaces after it.
        following: The character after that; empty at the end of the text.
        phonemes: IPA without the clause's punctuation.
        is_ordinal: Whether the dot at its end belongs to a number and ends nothing, as in German
            `Johannes Paul II.`
    """

    source: str
    following: str
    phonemes: str
    is_ordinal: bool = False


@dataclass(frozen=True)
class SpokenClause:
    """A clause within a sentence, or a stretch of raw phonemes.

    Attributes:
        source: The characters that it was made of, with punctuation and spaces after it.
        start: Place of the first of them in the text.
        phonemes: IPA without the clause's punctuation.
        ending: The mark and the space after the phonemes; either may be lacking.
        is_raw: Whether the phonemes were given as they are.
        is_break: Whether punctuation inside a sentence asks for a pause after it.
        is_ellipsis: Whether that is `…`.
        ends_paragraph: Whether a blank line follows.
        said: Words (start and end in the source) whose phonemes are not the phonemizer's, and what
            they are.
    """

    source: str
    start: int
    phonemes: str
    ending: str = ""
    is_raw: bool = False
    is_break: bool = False
    is_ellipsis: bool = False
    ends_paragraph: bool = False
    said: Mapping[tuple[int, int], str] = field(default_factory=dict)


NO_TERMINATOR = Terminator("", False)
SENTENCE_END = Terminator("", True)

_TERMINATORS: dict[str, Terminator] = {
    character: Terminator(mark, ends_sentence)
    for characters, mark, ends_sentence, _ in _CLASSES
    for character in characters
}
_NO_SPACE_NEEDED = frozenset(
    character for characters, _, _, bare in _CLASSES if bare for character in characters
)
_PUNCTUATION = frozenset(_TERMINATORS) | frozenset(_IN_WORD)


def find_terminator(clause: Clause) -> Terminator:
    """Find what ended a clause.

    A clause ends at punctuation, at a blank line, at the end of the text, or where espeak-ng's
    buffer was full. Of several marks in a row the first counts (`?!` is `?`), where three dots and
    more are one ellipsis.
    """
    body = clause.source.rstrip(_SPACES)
    spaces = clause.source[len(body) :]
    start = len(body)
    while start > 0 and body[start - 1] in _PUNCTUATION:
        start -= 1
    run = body[start:]
    if run and not clause.is_ordinal and _is_clause_end(body[:start], run, spaces, clause):
        # A blank line takes the place of the mark before it.
        return SENTENCE_END if spaces.count("\n") > 1 else _TERMINATORS[_first_mark(run)]
    is_separated = _PARAGRAPH_SEPARATOR in spaces.partition("\n")[0]
    is_end = is_separated or spaces.count("\n") > 1 or not clause.following
    return SENTENCE_END if is_end else NO_TERMINATOR


def group_clauses(clauses: Iterable[Clause], start: int = 0) -> list[list[SpokenClause]]:
    """Group clauses to sentences, with the marks that ended the clauses.

    `, : ;` are followed by a space. A clause that ended without a mark, and not at the end of a
    sentence, is joined to the next one without a space: a wart (`Wait... what` gives `wˈeɪtwˌʌt`)
    that is kept, because published voices were trained on it.

    Args:
        clauses: The clauses of a text, in order.
        start: Place of the first one in the text that the places are to count from.

    Returns:
        The clauses of each sentence. A sentence says nothing where punctuation or a blank line
        stood alone: whoever puts texts together must know of that end, whoever speaks drops it.
    """
    sentences: list[list[SpokenClause]] = []
    sentence: list[SpokenClause] = []
    for clause in clauses:
        terminator = find_terminator(clause)
        sentence.append(_speak_clause(clause, terminator, start))
        start += len(clause.source)
        if terminator.ends_sentence:
            sentences.append(sentence)
            sentence = []
    return [*sentences, sentence] if join_phonemes(sentence) else sentences


def is_abbreviation(before: str, following: str, language: str) -> bool:
    """Tell whether a dot belongs to a word that goes on: `Dr. Smith`, `ул. Ленина`, `J. R. Smith`.

    Args:
        before: The text up to the dot, and the dot.
        following: What comes after it; of it the first letter or digit is read.
        language: The espeak-ng voice, such as `en-us`.
    """
    first = re.search(r"\w+", following[:20])
    if not before.endswith(".") or first is None or following.count("\n", 0, first.start()) > 1:
        return False
    language = language.partition("-")[0]
    before = before[-60:]
    if re.search(r"(?<!\w)\w{1,2}\.$", before) and f" {first[0].lower()} " in _STARTERS:
        return False
    names, _, numbered = _ABBREVIATIONS.get(language, "").partition("|")
    word = re.search(r"(?<!\w)(?:\w\. ?)*\w+(?=\.$)", before)
    if word and (names or numbered):
        short = word[0].replace(" ", "")
        known = names.split() + (numbered.split() if first[0][0].isdigit() else [])
        otherwise = _OTHERWISE.get(language, {}).get(short)
        if short[1:] and short not in known:
            short = short[0].lower() + short[1:]
        if short in known or any(name.startswith(f"{short}.{first[0]}") for name in known):
            return not (otherwise and re.search(f"{otherwise}$", before[: word.start()]))
    return first[0][0].isupper() and bool(names) and _is_initial(before)


def _is_initial(before: str) -> bool:
    match = _INITIAL.search(before)
    if match is None or match[0][:-1].replace(" ", "").upper() in _NO_INITIALS:
        return False
    if not match["last"].isupper() or (match["last"] == "I" and not match["more"]):
        return False
    preceding = before[: match.start()]
    if _NAMED_BY_LETTERS.search(preceding):
        return False
    is_after_name = re.search(r"\b[^\W\d_][\w’'-]+ $", preceding)
    return bool(match["more"] or _NAME_FOLLOWS.search(preceding)) or bool(
        is_after_name and is_after_name[0][0].isupper()
    )


def join_abbreviations(
    sentences: Sequence[list[SpokenClause]], language: str
) -> list[list[SpokenClause]]:
    """Join the sentences that only the dot of an abbreviation has parted."""
    joined: list[list[SpokenClause]] = []
    for sentence in sentences:
        last = joined[-1][-1] if joined else None
        if last is not None and last.ending == "." and sentence:
            before = "".join(clause.source for clause in joined[-1][-4:]).rstrip(_SPACES)
            if is_abbreviation(before, sentence[0].source, language):
                joined[-1][-1] = replace(last, ending=" ")
                joined[-1] += sentence
                continue
        joined.append(list(sentence))
    return joined


def join_phonemes(clauses: Iterable[SpokenClause]) -> str:
    """Return the phonemes of one sentence with its marks and spaces."""
    return "".join(clause.phonemes + clause.ending for clause in clauses)


def join_clauses(clauses: Iterable[Clause]) -> list[str]:
    """Join the phonemes of clauses to sentences, as `group_clauses` groups them."""
    return [join_phonemes(sentence) for sentence in group_clauses(clauses)]


def _speak_clause(clause: Clause, terminator: Terminator, start: int) -> SpokenClause:
    body = clause.source.rstrip(_SPACES)
    trail = body[len(body.rstrip("".join(_PUNCTUATION))) :]
    has_pause = not terminator.ends_sentence and any(mark not in _SILENT_MARKS for mark in trail)
    is_break = bool(clause.following and has_pause)
    return SpokenClause(
        source=clause.source,
        start=start,
        phonemes=clause.phonemes,
        ending=terminator.mark + " " * bool(terminator.mark and not terminator.ends_sentence),
        is_break=is_break,
        is_ellipsis=is_break and _first_mark(trail) == ELLIPSIS,
        ends_paragraph=terminator.ends_sentence and clause.source[len(body) :].count("\n") > 1,
    )


def _first_mark(run: str) -> str:
    return ELLIPSIS if run.startswith("...") else run[0]


def _is_clause_end(before: str, run: str, spaces: str, clause: Clause) -> bool:
    """Tell whether a run of punctuation is what ended the clause.

    Where text follows, nothing else can have, unless the clause was cut because the buffer was
    full. At the end of the text, punctuation counts only if something was said before.
    """
    mark, following = _first_mark(run), clause.following
    if mark in _IN_WORD:
        return False
    if following:
        if len(clause.source.encode()) < _MIN_CUT_BYTES:
            return True
        if not (spaces or mark in _NO_SPACE_NEEDED or _is_bracket(following)):
            return False
    if "\n" in spaces:
        return True
    if not any(character.isalnum() for character in before + mark):
        return False
    # A dot before a small letter is taken for an abbreviation's.
    return not (mark == "." and following.islower())


def _is_bracket(character: str) -> bool:
    return character in _BRACKETS or "\u2014" <= character <= "\u201f"


_SPOKEN_SIGNS = frozenset("%&#@*+=$€£¥₽§°<>")
_STRESS_SIGNS = frozenset("ˈˌ")
_MARKS = frozenset(" .,!?:;。？！—…、，：；")
# The alignment takes 0.4 µs a cell; longer clauses are shared out by length.
_MAX_CELLS = 250_000


@dataclass(frozen=True)
class Word:
    """A word of a sentence and what became of it.

    Attributes:
        text: The word as written, without the punctuation around it.
        start: Place of its first character in the sentence's text.
        end: Place after its last character.
        first_phoneme: Index of its first phoneme.
        last_phoneme: Index after its last phoneme.
    """

    text: str
    start: int
    end: int
    first_phoneme: int
    last_phoneme: int


def find_words(text: str) -> list[tuple[int, int]]:
    """Return start and end of each word: what stands between spaces, without its punctuation."""
    words: list[tuple[int, int]] = []
    start = 0
    for end in [*(i for i, character in enumerate(text) if character.isspace()), len(text)]:
        first, last = start, end
        while first < last and not _is_spoken(text[first]):
            first += 1
        while last > first and not _is_spoken(text[last - 1]):
            last -= 1
        if first < last:
            words.append((first, last))
        start = end + 1
    return words


def share_phonemes(
    phonemes: Sequence[str], spoken_alone: Sequence[Sequence[str]]
) -> list[tuple[int, int]]:
    """Share the phonemes of a clause out among its words.

    Args:
        phonemes: P single code points of the clause, with spaces and marks.
        spoken_alone: For each word its phonemes when spoken alone.

    Returns:
        For each word the half-open range of its phonemes. The ranges follow each other; together
        they hold all phonemes but spaces and marks, where there is a word.
    """
    letters = [index for index, phoneme in enumerate(phonemes) if _is_letter(phoneme)]
    if not spoken_alone:
        return []
    alone = [[phoneme for phoneme in word if _is_letter(phoneme)] for word in spoken_alone]
    said = _split_at_spaces(phonemes)
    counts = [sum(_is_letter(phonemes[index]) for index in word) for word in said]
    if len(counts) == len(alone) and all(map(_is_similar, counts, map(len, alone))):
        borders = [0, *accumulate(counts)]
    else:
        borders = _align_borders([phonemes[index] for index in letters], alone)
        borders = _snap(borders, set(accumulate(counts)))
    shares: list[tuple[int, int]] = []
    for first, last in pairwise(borders):
        place = shares[-1][1] if shares else 0
        shares.append(_widen(phonemes, letters[first:last]) if first < last else (place, place))
    return shares


def _is_spoken(character: str) -> bool:
    if character.isalnum() or character in _SPOKEN_SIGNS:
        return True
    return unicodedata.category(character)[0] in "LNMS"


def _is_letter(phoneme: str) -> bool:
    return phoneme not in _MARKS and phoneme not in _STRESS_SIGNS


def _is_similar(count: int, other: int) -> bool:
    return abs(count - other) <= 1 + max(count, other) // 4


def _split_at_spaces(phonemes: Sequence[str]) -> list[list[int]]:
    words: list[list[int]] = [[]]
    for index, phoneme in enumerate(phonemes):
        if phoneme == " ":
            words.append([])
        elif phoneme not in _MARKS:
            words[-1].append(index)
    return [word for word in words if word]


def _align_borders(letters: Sequence[str], alone: Sequence[Sequence[str]]) -> list[int]:
    """Return the place in the letters where each word begins, and their number at the end."""
    flat = [letter for word in alone for letter in word]
    ends = [0, *accumulate(len(word) for word in alone)]
    if not flat or len(flat) * len(letters) > _MAX_CELLS:
        scale = len(letters) / len(flat) if flat else len(letters) / len(alone)
        places = ends if flat else list(range(len(alone) + 1))
        return [round(place * scale) for place in places]
    to_letters = _align(flat, letters)
    borders = [to_letters[end] for end in ends]
    borders[0], borders[-1] = 0, len(letters)
    return borders


def _align(left: Sequence[str], right: Sequence[str]) -> list[int]:
    """Return for each place in `left` the place in `right` on the cheapest path of edits."""
    rows = [list(range(len(right) + 1))]
    for letter in left:
        above = rows[-1]
        row = [above[0] + 1]
        for index, other in enumerate(right):
            # A swap costs more than half an insertion and a removal, so equal letters pair up.
            swap = above[index] + (0 if letter == other else 1.5)
            row.append(min(swap, above[index + 1] + 1, row[-1] + 1))  # type: ignore[arg-type]
        rows.append(row)
    places = [0] * (len(left) + 1)
    column = len(right)
    for index in range(len(left), 0, -1):
        places[index] = column
        while column and rows[index][column] == rows[index][column - 1] + 1:
            column -= 1
        if column and rows[index][column] != rows[index - 1][column] + 1:
            column -= 1
    return places


def _snap(borders: list[int], gaps: set[int]) -> list[int]:
    """Move borders to a space between phonemes that is at most two letters away.

    Not where a word would lose its last letter: `of the` has no space inside.
    """
    for index in range(1, len(borders) - 1):
        border, lowest, highest = borders[index], borders[index - 1], borders[index + 1]
        near = [gap for gap in gaps if abs(gap - border) <= 2 and lowest < gap < highest]
        distances = {abs(gap - border): gap for gap in near}
        borders[index] = distances[min(distances)] if distances else max(border, lowest)
    return borders


def _widen(phonemes: Sequence[str], letters: Sequence[int]) -> tuple[int, int]:
    """Return the range of these letters with the stress sign before the first."""
    first = letters[0]
    while first and phonemes[first - 1] in _STRESS_SIGNS:
        first -= 1
    return first, letters[-1] + 1
