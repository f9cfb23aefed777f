"""The Porter stemmer, with the departures that NLTK made and ``rouge_score`` relies on.

M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980. Numbers of steps and the
words *measure*, *v*, *d*, *o* are those of the paper. Knows nothing of ROUGE.
"""

from __future__ import annotations

__all__ = ["stem"]

_IRREGULAR = {
    "skies": "sky",
    "sky": "sky",
    "dying": "die",
    "lying": "lie",
    "tying": "tie",
    "news": "news",
    "innings": "inning",
    "inning": "inning",
    "outings": "outing",
    "outing": "outing",
    "cannings": "canning",
    "canning": "canning",
    "howe": "howe",
    "proceed": "proceed",
    "exceed": "exceed",
    "succeed": "succeed",
}
# The first suffix that fits decides, whether or not its stem is long enough: the order matters.
_STEP_2 = (
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
    ("logi", "log"),
)
_STEP_3 = (
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
)
_STEP_4 = (
    "al",
    "ance",
    "ence",
    "er",
    "ic",
    "able",
    "ible",
    "ant",
    "ement",
    "ment",
    "ent",
    "ion",
    "ou",
    "ism",
    "ate",
    "iti",
    "ous",
    "ive",
    "ize",
)


def _form(word: str) -> str:
    """Return the word as c and v: y is a vowel after a consonant, a consonant elsewhere."""
    form = ""
    for letter in word:
        vowel = letter in "aeiou" or (letter == "y" and form.endswith("c"))
        form += "v" if vowel else "c"
    return form


def _measure(word: str) -> int:
    """Return m of the paper's [C](VC){m}[V]."""
    return _form(word).count("vc")


def _doubled(word: str) -> bool:
    """Tell whether the word ends in a double consonant (*d)."""
    return len(word) > 1 and word[-1] == word[-2] and _form(word)[-1] == "c"


def _short(word: str) -> bool:
    """Tell whether the word ends consonant-vowel-consonant (*o); NLTK adds words as "at"."""
    form = _form(word)
    return (form.endswith("cvc") and word[-1] not in "wxy") or form == "vc"


def _plural(word: str) -> str:
    """Step 1a."""
    if word.endswith("ies"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("sses"):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _past(word: str) -> str:
    """Step 1b."""
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) else word
    for suffix in ("ed", "ing"):
        root = word.removesuffix(suffix)
        if root != word and "v" in _form(root):
            break
    else:
        return word
    if root.endswith(("at", "bl", "iz")):
        return root + "e"
    if _doubled(root):
        return root if root[-1] in "lsz" else root[:-1]
    return root + "e" if _measure(root) == 1 and _short(root) else root


def _final_y(word: str) -> str:
    """Step 1c."""
    if word.endswith("y") and len(word) > 2 and _form(word[:-1])[-1] == "c":
        return word[:-1] + "i"
    return word


def _derived(word: str) -> str:
    """Step 2."""
    while word.endswith("alli") and _measure(word[:-4]):
        word = word[:-2]
    for suffix, ending in _STEP_2:
        if word.endswith(suffix):
            root = word[: -len(suffix)]
            # NLTK counts the l of -logi as part of the root
            measured = root + "l" if suffix == "logi" else root
            return root + ending if _measure(measured) else word
    return word


def _adjective(word: str) -> str:
    """Step 3."""
    for suffix, ending in _STEP_3:
        if word.endswith(suffix):
            root = word[: -len(suffix)]
            return root + ending if _measure(root) else word
    return word


def _bare(word: str) -> str:
    """Step 4."""
    for suffix in _STEP_4:
        if word.endswith(suffix):
            root = word[: -len(suffix)]
            fits = _measure(root) > 1 and (suffix != "ion" or root[-1] in "st")
            return root if fits else word
    return word


def _tidied(word: str) -> str:
    """Steps 5a and 5b."""
    if word.endswith("e"):
        measure = _measure(word[:-1])
        if measure > 1 or (measure == 1 and not _short(word[:-1])):
            word = word[:-1]
    if word.endswith("ll") and _measure(word[:-1]) > 1:
        word = word[:-1]
    return word


def stem(word: str) -> str:
    """Strip the suffixes of an English word, in lower case; nothing is cached, words are data."""
    word = word.lower()
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) > 2:
        for step in (_plural, _past, _final_y, _derived, _adjective, _bare, _tidied):
            word = step(word)
    return word
