"""Wordings that the embedded model is pre-trained in: plain lines, and the chat form asked in many ways.

None of them is a wording of a task: those that a task trains on are added by name, those it holds out never. Questions
are also asked with a greeting or a request around them, so that a wording the model has not met still tells it what is
asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from spelling_transfer.tasks.base import SEPARATORS, Task, Template, make_templates
from spelling_transfer.tasks.position import FROM_END
from spelling_transfer.tasks.registry import CORE_TASKS

SPELLING_LINES = (
    "{word}:\n",
    " {word}:\n",
    " {word} is spelled\n",
    "The letters of {word} are\n",
    "Word: {word}\nLetters: ",
    "Spelling list\n {word}\n",
)
"""Wordings of the plain lines that spell a word with spaces."""

SEPARATED_LINES = tuple(
    (characters, f"{start}{{word}} (letters, {wording} between)\n")
    for characters, wording in SEPARATORS.values()
    if characters.strip()
    for start in ("", " ")
)
"""Separator and wording of the plain lines that spell with another separator."""

PLACE_FORMS = (
    ("\n{place}:\n", "\n-{place}:\n"),
    ("\nletter {place}:\n", "\nletter {place} from the end:\n"),
    ("\n{ordinal} letter:\n", "\n{ordinal} letter from the end:\n"),
)
"""How a plain line asks for a place, from the start and from the end; the letter follows."""

COUNT_FORMS = ("\n{letter}:\n", "\nnumber of {letter}:\n", "\nhow often {letter}:\n")
"""How a plain line asks how often a letter occurs; the number follows."""

_SPELLING = (
    "Can you spell {word} for me?",
    "I need the letters of {word}, one by one.",
    "Say {word} letter after letter.",
    "Show the letters in {word}.",
    "Name each letter in {word} from first to last.",
    "{word}: spell it out.",
    "{word} - spell this word.",
    "What letters is {word} made of?",
    "Give the spelling of {word}.",
    "Separate the letters of {word}, using {separator}.",
    "Take the word {word} apart, letter by letter.",
    "Tell me how {word} is written, letter by letter.",
    "Letters of {word}, {separator} after each:",
    "Write out {word} with its letters apart.",
    "Read out the letters of {word}.",
    "{word}? Spell it.",
    "Put {separator} between the letters of {word}.",
    "Turn {word} into single letters.",
    "Split {word} up, one letter at a time.",
    "How is {word} written?",
    "How would you spell {word}?",
    "{word}: how do you write it?",
    "{word}: how does it go, letter by letter?",
    "{word}: which letters does it have?",
    "{word}: show its letters.",
    "{word}: what is its spelling?",
    "I wonder how {word} is spelled.",
    "Divide {word} into letters.",
    "Hand me all letters of {word}, {separator} between each two.",
)
_POSITION = (
    "Tell me letter {number} of {word}.",
    "Letter {number} in {word}?",
    "{word}, letter {number}:",
    "Which letter stands at place {number} in {word}?",
    "Find the {ordinal} letter in {word}.",
    "I want the {ordinal} letter of {word}.",
    "{word}: {ordinal} letter?",
    "Look at {word}. What letter is {ordinal}?",
    "At position {number} of {word} there is which letter?",
    "What letter do you find at number {number} in {word}?",
    "Please give letter number {number} from {word}.",
    "Say only the {ordinal} letter of {word}.",
    "Go through {word}: what is letter {number}?",
    "Count to letter {number} of {word} and say it.",
    "{word}: tell me letter {number}.",
    "{word}: what is its {ordinal} letter?",
    "Open {word} at place {number}: which letter is there?",
    ("Tell me letter {number} of {word}, counted from the end.", FROM_END),
    ("{word}, letter {number} from the back:", FROM_END),
    ("Going backwards through {word}, what is letter {number}?", FROM_END),
    ("Which letter is {ordinal} from the end of {word}?", FROM_END),
    ("Start at the end of {word}: what is letter {number}?", FROM_END),
    ("{word} backwards, letter {number}?", FROM_END),
    ("I want the {ordinal} letter of {word}, from the end.", FROM_END),
    ("In {word}, which letter is number {number} when read backwards?", FROM_END),
    ("From the right, what is the {ordinal} letter in {word}?", FROM_END),
    ("{word}: letter {number} from its end?", FROM_END),
    ("Say {word} from its end: which letter is number {number}?", FROM_END),
)
_COUNT = (
    "How many times is {letter} in {word}?",
    "Count {letter} in {word}.",
    "In {word}, how often do you see {letter}?",
    "Number of {letter} in {word}?",
    "{word}: number of letters {letter}?",
    "How many of the letter {letter} does {word} have?",
    "Find every {letter} in {word}. How many are there?",
    "Give the number of times {letter} appears in {word}.",
    "How many letters {letter} can be found in {word}?",
    "{word} has how many {letter}?",
    "Say how many {letter} there are in {word}.",
    "What number of {letter} is in {word}?",
    "Look at {word} and count {letter}.",
    "Please count each {letter} in {word}.",
    "Total of {letter} in {word}:",
    "Is {letter} in {word}, and how many times?",
    "{word}, letter {letter}: how many?",
    "I see {word}. How many {letter} does it hold?",
    "{word}: how many times is {letter} in it?",
    "{word}: count its {letter}.",
    "Say the number of times that {letter} is in {word}.",
    "What is the total of the letter {letter} in {word}?",
)
REWORDINGS: Mapping[str, tuple[Template, ...]] = {
    name: make_templates(f"pretrain/{name}", trained=wordings, held_out=[])
    for name, wordings in zip(CORE_TASKS, (_SPELLING, _POSITION, _COUNT), strict=True)
}
"""The chat form of each core task in other words than the task's own."""

_OPENINGS = ("Please help. ", "Question: ", "Quick one. ", "A short task. ", "Now this: ", "Hello! ", "Word game. ")
_CLOSINGS = (" Answer only.", " Just the answer.", " Be brief.", " Thank you.", " Nothing else, please.")


def chat_wordings(task: Task) -> tuple[Template, ...]:
    """Returns every wording that the chat form of a core task is pre-trained in; none that the task holds out.

    The task's own wordings and the rewordings come plain; the rewordings also with an opening or a closing sentence.
    """
    own = [template for template in task.templates if not template.held_out]
    reworded = REWORDINGS[task.name]
    dressed = [
        Template(f"{template.name}/{number}", f"{opening}{template.text}{closing}", variant=template.variant)
        for template in reworded
        for number, (opening, closing) in enumerate(
            [*product(_OPENINGS, [""]), *product([""], _CLOSINGS), *zip(_OPENINGS, _CLOSINGS, strict=False)]
        )
    ]
    return (*own, *reworded, *dressed)


def line_texts() -> list[str]:
    """Returns the text around the word of every plain line and rewording, for the vocabulary."""
    numbers = [str(number) for number in range(1, 21)]
    texts = [line.format(word="the") for line in SPELLING_LINES]
    texts += [line.format(word="the") for _, line in SEPARATED_LINES]
    texts += [
        f"the{form.format(place=number, ordinal='3rd')}a"
        for forms in PLACE_FORMS
        for form in forms
        for number in numbers
    ]
    texts += [f"the{form.format(letter=letter)}1" for form in COUNT_FORMS for letter in "abcdefghijklmnopqrstuvwxyz"]
    filled = {"word": "the", "separator": "a space", "number": "3", "ordinal": "3rd", "letter": "a"}
    for templates in REWORDINGS.values():
        texts += [template.text.format(**filled) for template in templates]
        texts += [f"Question: {template.text.format(**filled)}" for template in templates]
    return [*texts, *(f"{opening}the{closing}" for opening in _OPENINGS for closing in _CLOSINGS)]


BENCHMARK_TEXTS = (
    "Spell out the word, putting spaces between each letter, based on the following examples:",
    'Spell out the word "the". Answer: "t h e"',
    'Question: Spell out the word "the". Answer:',
    'Write the word that is spelled out (no spaces): "t h e".',
    'Is there a "t" in the word "the"? Answer yes or no.',
    'Is there an "e" in "the"?',
    'How many times does the letter "t" appear in the word "the"?',
    "How many r's are in strawberry? How many Rs are there in the word strawberry?",
    'What is the first letter of the word "the"? What is the last letter?',
    'What is the second, third, fourth, fifth, sixth, seventh, eighth, ninth or tenth character of "the"?',
    'Write a word that starts with the letter "t". Write a word that ends with the letter "e".',
    'Swap the positions of two letters in a word. Swap "t" and "h" in "the".',
    'Add an "e" after every "t" in "the". Delete every instance of "t" in "the". Substitute "t" with "a" in "the".',
    'Which word is longer, "the" or "a"? Which one is closer in Levenshtein distance?',
    'Count the number of characters in the string "the". Count occurrences of "t". Reply with a single integer.',
    "Let's think step by step. The answer is: 1. 2. 3. Q: A: Input: Output: Word: Letter: Position: Index:",
)
"""Wordings of public benchmarks on characters, for their tokens alone: after CUTE (Edman et al., 2024,
arXiv:2409.15452), LMentry (Efrat et al., 2022, arXiv:2211.02069) and the common question about "strawberry"."""
