"use strict";
{
  const data = JSON.parse(document.getElementById("word-data").textContent);
  const words = data.words.split(" "), plurals = data.plurals.split(" ");
  const place = new Map(words.map((word, index) => [word, index]));
  const sorted = [...words].sort();
  const forms = data.forms.map((form) => ({ ...form, tokens: form.tokens.split(" ") }));
  const input = document.getElementById("word-search"), found = document.getElementById("word-found");
  const list = document.getElementById("word-forms"), suggestions = document.getElementById("word-suggestions");

  const element = (name, text, ...children) => {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    made.append(...children);
    return made;
  };
  const written = {
    bare: (word) => word,
    spaced: (word) => ` ${word}`,
    capitalised: (word) => ` ${word[0].toUpperCase()}${word.slice(1)}`,
    plural: (word, index) => ` ${plurals[index]}`,
  };
  const box = (number) => {
    const [id, text] = data.tokens[parseInt(number, 36)];
    const letters = text.trim(), name = element("b");
    if (text.startsWith(" ")) name.append(element("i", "␣"));
    name.append(letters);
    const count = `${letters.length} letter${letters.length === 1 ? "" : "s"}`;
    const spelled = letters.length > 1 ? `: ${[...letters.toLowerCase()].join(" ")}` : "";
    const token = element("span", "", name, element("small", `id ${id}`), element("small", count + spelled));
    token.className = "token";
    return token;
  };
  // The first word, in alphabetical order, that does not stand before the text.
  const firstFrom = (text) => {
    let low = 0, high = sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle] < text) low = middle + 1; else high = middle;
    }
    return low;
  };
  const show = () => {
    const word = input.value.trim().toLowerCase();
    const near = sorted.slice(firstFrom(word), firstFrom(word) + 8).filter((other) => other.startsWith(word));
    suggestions.replaceChildren(...near.map((other) => { const option = element("option"); option.value = other; return option; }));
    const index = place.get(word);
    if (index === undefined) {
      list.replaceChildren();
      found.textContent = !word ? "" : near.length
        ? `not on the list; on it are ${near.slice(0, 5).join(", ")}`
        : `not among the ${words.length.toLocaleString("en")} words; kedro tokens --word=… shows any word`;
      return;
    }
    found.textContent = "";
    list.replaceChildren(...forms.map((form) => {
      const tokens = form.tokens[index].split("."), text = written[form.form](word, index);
      const count = `${tokens.length} token${tokens.length === 1 ? "" : "s"}`;
      const term = element("dt", "", `“${text}”: ${count}`, element("small", `${form.form}: ${form.description}`));
      const boxes = element("dd", "", ...tokens.map(box));
      return element("div", "", term, boxes);
    }));
  };
  // The word to begin with is one that is cut, where the one in the page is not on the list.
  if (!place.has(input.value)) input.value = words[forms[0].tokens.findIndex((tokens) => tokens.includes("."))] ?? words[0];
  input.addEventListener("input", show);
  show();
}
