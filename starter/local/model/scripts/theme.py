"""What the web app is about: title, words and colour, found in the founder's own words."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from starter.local.model.values import json_text


@dataclass(frozen=True)
class Theme:
    """The words that make one app out of the template."""

    title: str
    noun: str
    plural: str
    done: str
    tagline: str
    accent: str
    suggestions: tuple[str, str, str]

    def fill(self, template: str) -> str:
        """Return the template with its `{{WORD}}` places filled."""
        words = {
            "TITLE": self.title,
            "NOUN": self.noun,
            "PLURAL": self.plural.capitalize(),
            "PATH": self.plural.replace(" ", "-"),
            "DONE": self.done,
            "TAGLINE": self.tagline,
            "ACCENT": self.accent,
            "EXAMPLE": self.suggestions[0],
            "SUGGESTIONS": json_text(self.suggestions),
        }
        return re.sub(r"\{\{([A-Z]+)\}\}", lambda found: words[found.group(1)], template)


_KNOWN: dict[str, Theme] = {
    r"habits?": Theme(
        "Habit Tracker",
        "habit",
        "habits",
        "Done today",
        "Small things, every day.",
        "#e4572e",
        ("Drink water", "Read ten pages", "Walk outside"),
    ),
    r"plants?|watering": Theme(
        "Plant Care",
        "plant",
        "plants",
        "Looked after today",
        "Nothing on the sill goes thirsty.",
        "#2f855a",
        ("Basil in the kitchen", "Fern by the window", "Tomatoes on the balcony"),
    ),
    r"books?|reading": Theme(
        "Reading Log",
        "book",
        "books",
        "Read today",
        "A few pages a day add up.",
        "#3b5bdb",
        ("Middlemarch", "The Dispossessed", "Poems before bed"),
    ),
    r"workouts?|exercises?|stretch(?:es|ing)?": Theme(
        "Workout Log",
        "exercise",
        "exercises",
        "Trained today",
        "Show up, and let it add up.",
        "#c2255c",
        ("Twenty push-ups", "Run round the park", "Stretch before bed"),
    ),
}
_TASKS = Theme(
    "Daily List",
    "task",
    "tasks",
    "Done today",
    "What matters, every day.",
    "#0b7285",
    ("Call one person", "Tidy one thing", "Write one page"),
)
_GENERIC = re.compile(
    r"\b(?:an?|the|my|our)\s+(?:[a-z]+[ -])?([a-z]+)[ -](tracker|log|journal|planner|diary|checklist)\b",
    re.IGNORECASE,
)
_ACCENTS = ("#5f3dc4", "#0b7285", "#d9480f", "#2b8a3e", "#a61e4d")
_NAMED = re.compile(r'"name": "([^"\\]+)"(?:,\s*"items": \[\s*"([^"\\]+)")?')
_OFTEN = 3
"""A known word said so often outweighs the name of another kind of app."""


def theme_of(brief: str) -> Theme:
    """Return the theme that the brief speaks of most."""
    counts = {words: len(re.findall(rf"\b(?:{words})\b", brief, re.IGNORECASE)) for words in _KNOWN}
    favourite = max(counts, key=lambda words: counts[words])
    named = _GENERIC.search(brief)
    if counts[favourite] >= (_OFTEN if named else 1) or (
        named and re.search(favourite, named.group(1), re.IGNORECASE)
    ):
        return _KNOWN[favourite]
    return _generic(*named.groups()) if named else _TASKS


class Phase(NamedTuple):
    """A phase of the plan, and the first of its items."""

    name: str
    item: str = ""


_PHASES = Phase("Data model"), Phase("Web app"), Phase("Tests and polish")


def phases_of(brief: str) -> tuple[Phase, Phase, Phase]:
    """Return the three phases: the plan's first, second and last, where it has so many."""
    _, _, plan = brief.partition("<build_plan>")
    found = _NAMED.findall(plan) if '"phases"' in plan else []
    phases = [Phase(*each) for each in found]
    return (phases[0], phases[1], phases[-1]) if len(phases) >= len(_PHASES) else _PHASES


def _generic(subject: str, kind: str) -> Theme:
    noun = subject.lower().replace("-", " ")
    return Theme(
        f"{noun} {kind}".title(),
        noun,
        _plural(noun),
        "Done today",
        f"Every {noun}, one day at a time.",
        _ACCENTS[len(noun) % len(_ACCENTS)],
        (f"First {noun}", f"Another {noun}", f"The {noun} I keep putting off"),
    )


def _plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"
