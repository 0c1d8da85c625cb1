"""CUTE: spelling and the manipulation of letters, with four solved examples before each question."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from spelling_transfer.bench.base import BenchError, Contents, Item, Reads, RowError, as_task
from spelling_transfer.bench.files import Row, agree, cell, check, decode, fill, load, needed, table

PREFILL = ' Answer: "'
_RANDOM = "_rand"
_WORDINGS: Mapping[str, str] = {
    "spell": 'Write the letters of "{}" with a space between them. Answer in quotes.',
    "spell_inverse": 'Which word do the letters "{}" make? Answer in quotes.',
    "contains_char": 'Is the letter "{}" in "{}"? Answer "Yes" or "No".',
    "orth": 'Which takes fewer changes of letters from "{}": "{}" or "{}"? Answer in quotes.',
    "sem": 'Which is nearer in meaning to "{}": "{}" or "{}"? Answer in quotes.',
    "ins_char": 'Put the letter "{}" behind each "{}" of "{}". Answer in quotes.',
    "del_char": 'Take each "{}" out of "{}". Answer in quotes.',
    "sub_char": 'Change each "{}" to "{}" in "{}". Answer in quotes.',
    "swap_char": 'Let the letters "{}" and "{}" of "{}" change places. Answer in quotes.',
}
_COMMIT = "the authors' commit 8db264a (September 2024)"
_VERSIONS = dict.fromkeys(
    [
        "346ea707e7f22375c73da6cd0902d29ee0ba2fe68bff671798003fb5d18ced8d",
        "b7f8cf065070cb6bfc605a4164aeb135fb89f50fc16d9cf4a56a6dde301eeed9",
        "bbdcc14954df8d2f748da1e82ead3cd594f89c8611de167af562ab23d2df4086",
        "9977f6210655b2c72bca619e1cf690dcc43cf2ce7cf5daed80b749b18568553a",
        "c83b2afa2997303b733770b7aa796b7ed9ba10e30f61fde67097ac8d923b1805",
        "96ca0acfe79c685b011d33a465d587e2ee1db3845f208aa0da1b45c835387e68",
        "021b86699458dfe84653db4c99fcd464a596f7893e120a33985b3e341a9fd260",
        "e7e8d34c3926636a32d1ca07ad84287f02c6bdf22888858ba6ec5d72945594fd",
        "cc1d5a7f323c41dc82d961b336e723bcce5b7ecd49364a22f79b7baa3faaed42",
        "4cc5e4c54529a4485122e6b031d29a2889f50da71549b544ae7243648ec50e22",
        "186928f3ba2d06798fec9fab0ec76bc6cd00aeda85c020b19f337bfb1f954326",
        "ce9e702373182231a66b72cf549701f0a039072c4dc798c50b255e2c7778a6d7",
        "5cab930eab6c561751013ff60c95b6ea91ac5aa33e6b8beafa3ac0398b2cd52f",
        "c08735ac9246155cf3a3ff6b2b2383f55200c3dca129653ca9b340a9be201725",
        "8b87e1aa9eaa6160e91b2d6c8eb3c40ce3a89c25cae3b36f41b63f52b72a8f54",
        "f30ef6b18dd00cb568eb34232ae5b9ae80214b2845b32ec1047561be068de5a1",
        "d570cda1a99b5b0c5577ef7b348cb1b4db49f1a18f9f60518bde2ec72e3e72dd",
    ],
    _COMMIT,
)


class Cute:
    """CUTE, as its repository has it: one table with tabs for each kind of question."""

    name = "cute"
    title = "CUTE: spelling, presence, and changes of letters, 1,000 questions a kind"
    source = "https://github.com/Leukas/CUTE, data/*.tsv; Edman, Schmid and Fraser, EMNLP 2024, arXiv:2409.15452"
    licence = "MIT"
    needs = "the folder 'data' of your copy, or one table of it such as spell.tsv; prompts.py stays beside 'data'"

    def read(self, path: Path | None, size: int) -> Contents:
        """Reads one table or all those of a folder, and the authors' prompts from their ``prompts.py``.

        Tables about the words of sentences (``del_word`` and its like) ask nothing of letters and are passed over.
        """
        path = needed(path, self.name, self.needs)
        files = [file for file in (sorted(path.glob("*.tsv")) if path.is_dir() else [path]) if _kind(file) in _WORDINGS]
        if not files:
            raise BenchError(
                f"{path}: the name of a table says what it asks, and here none is {', '.join(_WORDINGS)} (with .tsv "
                "behind, or _rand.tsv for random letters)."
            )
        contents = Contents()
        prompts = _prompts(files[0].parent, contents)
        for file in files:
            n_inputs = _WORDINGS[_kind(file)].count("{}")
            columns = [*(f"input{number}" for number in range(1, n_inputs + 1)), "label"]
            fill(contents, table(file, columns, contents), partial(_item, columns, file, prompts))
        return check(contents, path, _VERSIONS)

    def mark(self, item: Item, output: str) -> bool:
        """Compares what stands in the first quotes after the last "Answer:" with the right answer, exactly."""
        parts = (item.prefill + output).split("Answer:")[-1].split('"')
        return len(parts) > 1 and parts[1] == item.answer


def _kind(file: Path) -> str:
    return file.stem.removesuffix(_RANDOM)


def _prompts(folder: Path, contents: Contents) -> Mapping[str, str]:
    file = next((place / "prompts.py" for place in (folder, folder.parent) if (place / "prompts.py").is_file()), None)
    if file is None:
        contents.prompts = "in our words and without solved examples: there is no prompts.py beside the file"
        return _WORDINGS
    contents.prompts = f"the authors' own, from {file.name}"
    try:
        named = [node for node in ast.parse(decode(load(file, contents), file)).body if isinstance(node, ast.Assign)]
        (value,) = [node.value for node in named if ast.unparse(node.targets[0]) == "PROMPTS"]
        found: dict[str, str] = ast.literal_eval(value)  # read as data: nothing of the file is run
        for kind, ours in _WORDINGS.items():
            found[kind].format(*["x"] * ours.count("{}"))
    except (SyntaxError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise BenchError(f"{file}: holds no prompts of CUTE ({error!r}). Get it again, or take it away.") from error
    return found


def _item(columns: list[str], file: Path, prompts: Mapping[str, str], row: Row) -> Item:
    kind = _kind(file)
    *inputs, label = [cell(row, column) for column in columns]
    _check(kind, inputs, label)
    word = inputs[0] if kind in ("spell", "orth", "sem") else label if kind == "spell_inverse" else inputs[-1]
    reads: Reads = "yes_no" if kind == "contains_char" else "letters"
    ours = None
    if kind == "spell":
        ours = as_task("spelling", word, word)
    elif kind == "contains_char":
        ours = as_task("contains", word, label.lower(), inputs[0])
    elif kind == "sub_char":
        ours = as_task("substitute", word, label, f"{inputs[0]}>{inputs[1]}")
    return Item(
        item_id=f"{file.stem}/{'/'.join(inputs)}",
        kind=file.stem,
        text=word,
        question=prompts[kind].format(*inputs),
        answer=label,
        reads=reads,
        echo=tuple(inputs) if reads == "yes_no" else (),
        prefill=PREFILL,
        ours=ours,
    )


def _check(kind: str, inputs: list[str], label: str) -> None:
    word = inputs[-1]
    if kind in ("orth", "sem"):
        if label not in inputs[1:]:
            raise RowError(f"its answer {label!r} is none of the two words")
        return
    finders: Mapping[str, Callable[[], str]] = {
        "spell": lambda: " ".join(word),
        "spell_inverse": lambda: word.replace(" ", ""),
        "contains_char": lambda: "Yes" if inputs[0] in word else "No",
        "ins_char": lambda: word.replace(inputs[1], inputs[1] + inputs[0]),
        "del_char": lambda: word.replace(inputs[0], ""),
        "sub_char": lambda: word.replace(inputs[0], inputs[1]),
        "swap_char": lambda: word.translate(str.maketrans(inputs[0] + inputs[1], inputs[1] + inputs[0])),
    }
    agree(label, finders[kind](), word)
