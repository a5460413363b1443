"""Specs broken at random, reproducibly: what people, editors, merge tools and attackers do to a text file."""

import random

WORDS = [
    "no",
    "null",
    "~",
    "[]",
    "{}",
    "1e400",
    "-1",
    "0o17",
    ".nan",
    "'",
    '"',
    "&a",
    "*a",
    "!!int",
    "<<",
    "%",
    "@",
    "`",
    "|",
    ">",
]
ODD = ["\x00", "\u2028", "\ufeff", "\u202e", "é", "名", "\U0001f600", "\t", "\r", "\x85", "\x1b[31m", "\xa0"]


def _cut(rng, text):
    return text[: rng.randrange(len(text) + 1)]


def _indent(rng, text):
    lines = text.split("\n")
    for _ in range(rng.randint(1, 4)):
        index = rng.randrange(len(lines))
        lines[index] = (
            rng.choice([" ", "  ", "\t", "      "]) + lines[index] if rng.random() < 0.6 else lines[index].lstrip()
        )
    return "\n".join(lines)


def _retype(rng, text):
    for _ in range(rng.randint(1, 3)):
        values = [part for part in text.replace(",", " ").split() if part.strip("[]{}:")]
        if values:
            text = text.replace(rng.choice(values), rng.choice(WORDS), 1)
    return text


def _splice(rng, text):
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(text) + 1)
        put = "".join(rng.choice([*WORDS, *ODD, *":,[]{}#-? \n"]) for _ in range(rng.randint(0, 6)))
        text = text[:start] + put + text[start + rng.randrange(12) :]
    return text


def _lines(rng, text):
    lines = text.split("\n")
    for _ in range(rng.randint(1, 4)):
        first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
        action = rng.random()
        if action < 0.3:
            lines[first], lines[second] = lines[second], lines[first]
        elif action < 0.6:
            lines.insert(first, lines[second])
        elif len(lines) > 1:
            del lines[first]
            lines = lines or [""]
    return "\n".join(lines)


def _deep(rng, text):
    depth = rng.choice([5, 30, 60, 3000])
    opening, closing = rng.choice([("[", "]"), ("{a: ", "}"), ("- ", "")])
    return text + "deep: " + opening * depth + "1" + closing * rng.choice([0, depth])


def _bomb(rng, text):
    width, depth = rng.choice([(3, 5), (10, 9), (40, 3)])
    lines = ["a0: &a0 [x, y]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, depth)]
    return text + "\n".join(lines)


def _huge(rng, text):
    return (
        text + "description: " + rng.choice(["x", "[", "9", "é", "\n", "- "]) * rng.choice([10_000, 900_000, 5_000_000])
    )


def _unicode(rng, text):
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(text) + 1)
        text = text[:start] + rng.choice(ODD) + text[start:]
    return text


_KINDS = (
    (_cut, 10),
    (_indent, 15),
    (_retype, 20),
    (_splice, 25),
    (_lines, 15),
    (_deep, 4),
    (_bomb, 3),
    (_huge, 1),
    (_unicode, 12),
)


def mutated(seed: int, text: str) -> bytes:
    """The text, broken in one or two ways, as bytes that need not be UTF-8."""
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 2)):
        kind = rng.choices([kind for kind, _ in _KINDS], [weight for _, weight in _KINDS])[0]
        text = kind(rng, text)
    encoding = rng.choices(["utf-8", "utf-16", "latin-1", "utf-8-sig"], [90, 3, 4, 3])[0]
    data = text.encode(encoding, "replace")
    if rng.random() < 0.05:
        at = rng.randrange(len(data) + 1)
        data = data[:at] + rng.randbytes(rng.randint(1, 40)) + data[at:]
    return data
