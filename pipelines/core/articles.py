""""a" or "an" before a word that was put into a text, by the sound that the word begins with.

Only the article directly before such a word is settled, and only in English: everything else of a
text is as its author typed it. In Portuguese "a" is "the", and stays before a vowel.
"""

from __future__ import annotations

import re

# "a unicorn", "an hour": the article goes by the sound, which these spellings hide.
_A_ALTHOUGH_VOWEL = re.compile(
    r"eu|ewe|one\b|one-|once|uni(?!n|m|d)|use|usu|uten|ukulele|ufo|ouija|utopia|urine|uran")
_AN_ALTHOUGH_CONSONANT = re.compile(r"hour|honest|heir|honou?r|suv\b|mri\b|8|(11|18)(?!\d)")
# A letter that is said by its name, as in "an x-ray" and "a u-turn".
_LETTER = re.compile(r"([a-z])-(?=\w)")
_AN_LETTERS = "aefhilmnorsx"
# A capital A within a sentence is a name ("plan A"), at its beginning an article.
_ARTICLE = re.compile(r"((?:^|[.!?:|]\s*)A|(?<![\w'’-])a)n?(\s+)\Z")
_OTHER_LANGUAGES = frozenset({
    "um", "uma", "uns", "umas", "de", "da", "dos", "das", "com", "em", "na", "nas", "nos",
    "ao", "aos", "e", "ou", "o", "os", "para", "sobre", "que", "el", "la", "los", "las",
    "un", "una", "con", "y", "le", "les", "une", "du", "et", "avec", "sur", "ein", "eine", "der",
    "und", "mit", "im", "il", "lo", "gli"})
_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|['’-])*")


def takes_an(word: str) -> bool:
    """Whether English says "an" before a text that begins like this."""
    word = word.lstrip("\"'“‘(").lower()
    if (match := _LETTER.match(word)) is not None:
        return match[1] in _AN_LETTERS
    if _AN_ALTHOUGH_CONSONANT.match(word):
        return True
    return word[:1] in "aeiou" and word != "" and not _A_ALTHOUGH_VOWEL.match(word)


def is_english(text: str) -> bool:
    """Whether a text may be English: no letter and no small word of its neighbours."""
    return text.isascii() and not _OTHER_LANGUAGES & set(_WORD.findall(text.lower()))


def with_article(before: str, word: str) -> str:
    """What stands before a word that is put in, with its last article settled.

    Args:
        before: English text up to the word.
        word: what is put in; where it is nothing or no word, the text stays as it is.
    """
    match = _ARTICLE.search(before)
    if match is None or not word[:1].strip() or not (word[0].isalnum() or word[0] in "\"'“‘("):
        return before
    return before[:match.start()] + match[1] + ("n" if takes_an(word) else "") + match[2]
