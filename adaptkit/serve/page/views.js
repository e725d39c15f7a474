// Answers as elements. Texts are set as text, never as markup.

export function element(name, given = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(given)) {
    if (key === "class") made.className = value;
    else if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

function shares(answer) {
  const rows = Object.entries(answer.scores).sort((one, two) => two[1] - one[1]);
  const list = element("dl", { class: "shares" });
  for (const [label, share] of rows) {
    const bar = element("i");
    bar.style.width = `${100 * share}%`;
    list.append(element("dt", {}, label), element("dd", { class: "track" }, bar), element("dd", {}, percent(share)));
  }
  return list;
}

// Offsets count code points, as Python does; JavaScript's strings count UTF-16 units.
function marked(text, spans) {
  const signs = Array.from(text);
  const shown = element("p", { class: "text" });
  let at = 0;
  for (const { start, end, label } of [...spans].sort((one, two) => one.start - two.start)) {
    if (start < at) continue;
    shown.append(signs.slice(at, start).join(""));
    const mark = element("mark", {}, signs.slice(start, end).join(""));
    if (label) mark.append(element("sup", {}, label));
    shown.append(mark);
    at = end;
  }
  shown.append(signs.slice(at).join(""));
  return shown;
}

function vector(numbers) {
  const first = numbers.slice(0, 8).map((one) => one.toFixed(3)).join(", ");
  return element("p", { class: "text" }, `${numbers.length} numbers: ${first}, …`);
}

export function answerView(answer, given) {
  if (answer.scores) return shares(answer);
  if (answer.entities) {
    const found = answer.entities.length ? [] : [element("p", { class: "quiet" }, "No entity.")];
    return element("div", {}, marked(given.text, answer.entities), ...found);
  }
  if (answer.embedding) return vector(answer.embedding);
  if (answer.start !== undefined) {
    const said = answer.text ? [] : [element("p", { class: "quiet" }, "No answer in the text.")];
    return element("div", {}, marked(given.context, answer.text ? [answer] : []), ...said);
  }
  if (answer.text !== undefined) return element("p", { class: "text" }, answer.text);
  if (answer.label !== undefined) return element("p", { class: "text" }, `${answer.label} (${percent(answer.score)})`);
  return element("p", { class: "text" }, answer.score.toFixed(3));
}

// Words of a text: green for the label, red against it.
export function explanationView(found) {
  const largest = Math.max(...found.words.map((word) => Math.abs(word.share)), 1e-9);
  const shown = element("p", { class: "text" });
  const signs = Array.from(found.text);
  let at = 0;
  for (const word of found.words) {
    shown.append(signs.slice(at, word.start).join(""));
    const span = element("span", { class: word.share >= 0 ? "for" : "against", title: word.share.toFixed(3) }, signs.slice(word.start, word.end).join(""));
    span.style.setProperty("--share", `${75 * Math.abs(word.share) / largest}%`);
    shown.append(span);
    at = word.end;
  }
  shown.append(signs.slice(at).join(""));
  const best = [...found.words].sort((one, two) => Math.abs(two.share) - Math.abs(one.share)).slice(0, 5);
  const told = best.map((word) => `${word.text} ${word.share >= 0 ? "+" : "−"}${Math.abs(word.share).toFixed(2)}`).join(", ");
  return element("div", {}, element("p", { class: "quiet" }, `For ${found.label}, by leaving each word out (change of the logit): ${told}`), shown);
}
