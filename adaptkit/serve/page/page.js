// The page: adapters, a form for the inputs of the chosen ones, and their answers side by side.

import { Refused, get, post, stream, useKey } from "./api.js";
import { answerView, element, explanationView } from "./views.js";

const MOST_SHOWN = 200;
const LABELLED = ["classify", "relate"];
const find = (id) => document.getElementById(id);
let models = [];
let info = {};
let running = null;
const talks = new Map(); // the conversation with each adapter

const chosen = () => [find("first").value, find("second").value].filter(Boolean).map((id) => models.find((one) => one.id === id));
const writes = (model) => info.writes && (model.task === null || ["chat", "prefer", "pretrain"].includes(model.task));

async function start() {
  try {
    [info, { data: models }] = await Promise.all([get("info"), get("v1/models")]);
  } catch (problem) {
    if (problem.status === 401) return askForKey(find("key").value && problem.message);
    find("about").textContent = problem.message;
    return;
  }
  const count = models.length - 1;
  find("about").textContent = `${count} adapter${count === 1 ? "" : "s"} over ${info.base}, version ${info.version}`;
  find("first").replaceChildren(...models.map(option));
  find("second").replaceChildren(element("option", { value: "" }, "nothing"), ...models.map(option));
  showList();
  showFields();
}

const option = (model) => element("option", { value: model.id }, model.id);

// What an adapter tells apart: its labels, or the kinds of its entities.
function kinds(model) {
  if (model.task === "score") return [];
  if (model.task !== "tag") return model.labels;
  return [...new Set(model.labels.filter((label) => label !== "O").map((label) => label.replace(/^[BI]-/, "")))];
}

function about(model) {
  const told = kinds(model);
  const shown = told.slice(0, 6).join(", ") + (told.length > 6 ? ", …" : "");
  return [model.task ?? "the base", shown].filter(Boolean).join(": ");
}

function askForKey(problem) {
  find("about").textContent = "A key is asked for.";
  find("key-problem").textContent = problem ?? "";
  find("key-dialog").showModal();
}

function showList() {
  const words = find("filter").value.toLowerCase();
  const fitting = models.filter((model) => `${model.id} ${model.task} ${kinds(model).join(" ")}`.toLowerCase().includes(words));
  const rows = fitting.slice(0, MOST_SHOWN).map((model) => {
    const button = element("button", { type: "button" }, element("strong", {}, model.id), element("span", { class: "quiet" }, about(model)));
    button.setAttribute("aria-pressed", String(model.id === find("first").value));
    button.addEventListener("click", () => {
      find("first").value = model.id;
      showList();
      showFields();
      find("fields").querySelector("textarea")?.focus();
    });
    return element("li", {}, button);
  });
  if (!rows.length) rows.push(element("li", { class: "quiet" }, "No adapter has this in its name, task or labels."));
  find("adapters").replaceChildren(...rows);
  find("more").hidden = fitting.length <= MOST_SHOWN;
  find("more").textContent = `and ${fitting.length - MOST_SHOWN} more`;
}

function showFields() {
  const asked = chosen();
  const names = [...new Set(asked.flatMap((model) => model.inputs))];
  const before = given();
  find("fields").replaceChildren(...names.map((name) => {
    const field = element("textarea", { id: `field-${name}`, name, value: before[name] ?? "", required: true });
    return element("div", {}, element("label", { htmlFor: field.id }, name.replace("_", " ")), field);
  }));
  running?.abort();
  find("answers").replaceChildren();
  find("problem").hidden = true;
  find("explain").hidden = !asked.some(explainable);
  find("clear").hidden = !asked.some((model) => talks.has(model.id));
}

const explainable = (model) => model.task === "classify" && model.inputs.join() === "text" && model.labels.length > 1;
const given = () => Object.fromEntries([...find("fields").querySelectorAll("textarea")].map((field) => [field.name, field.value]));

function input(model, all) {
  return Object.fromEntries(model.inputs.map((name) => [name, all[name]]));
}

// Run work for each chosen adapter; what goes wrong is said once.
async function forEach(kind, work, title = (model) => model.id, more = false) {
  running?.abort();
  const mine = (running = new AbortController());
  find("problem").hidden = true;
  find("send").disabled = true;
  find("stop").hidden = false;
  const asked = chosen().filter(kind);
  const places = asked.map((model) => element("article", {}, element("h3", {}, title(model)), element("div", {}, "…")));
  if (!more) find("answers").replaceChildren();
  find("answers").append(...places);
  await Promise.all(asked.map(async (model, i) => {
    try {
      await work(model, places[i].lastChild, mine.signal);
    } catch (problem) {
      if (problem.name === "AbortError") return;
      if (problem.status === 401) askForKey(problem.message);
      places[i].lastChild.textContent = "No answer.";
      find("problem").textContent = problem instanceof Refused ? problem.message : String(problem);
      find("problem").hidden = false;
    }
  }));
  if (running === mine) {
    find("send").disabled = false;
    find("stop").hidden = true;
    find("clear").hidden = !asked.some((model) => talks.has(model.id));
  }
}

async function ask(model, place, signal, all) {
  if (writes(model)) return converse(model, place, signal, all);
  if (model.task === null) {
    const { data } = await post("v1/embeddings", { model: model.id, input: all.text }, signal);
    place.replaceChildren(answerView(data[0], all));
    return;
  }
  const body = { model: model.id, input: input(model, all) };
  if (LABELLED.includes(model.task)) body.top_k = model.labels.length;
  const { answers } = await post("v1/answer", body, signal);
  place.replaceChildren(answerView(answers[0], all));
}

async function converse(model, place, signal, all) {
  const talk = talks.get(model.id) ?? [];
  const turns = [...talk, { role: "user", content: all[model.inputs[0]] }];
  const reply = element("p", { class: "turn" });
  find("fields").querySelector("textarea").value = "";
  place.replaceChildren(...turns.map((turn) => element("p", { class: `turn ${turn.role}` }, turn.content)), reply);
  for await (const text of stream("v1/chat/completions", { model: model.id, messages: turns }, signal)) reply.append(text);
  talks.set(model.id, [...turns, { role: "assistant", content: reply.textContent }]);
}

async function explain(model, place, signal, all) {
  place.replaceChildren(explanationView(await post("v1/explain", { model: model.id, input: all.text }, signal)));
}

find("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const all = given();
  forEach(() => true, (model, place, signal) => ask(model, place, signal, all));
});
find("explain").addEventListener("click", () => {
  const all = given();
  if (find("ask").reportValidity()) forEach(explainable, (model, place, signal) => explain(model, place, signal, all), (model) => `${model.id}: what it rests on`, true);
});
find("stop").addEventListener("click", () => {
  running?.abort();
  find("send").disabled = false;
  find("stop").hidden = true;
});
find("clear").addEventListener("click", () => {
  talks.clear();
  find("answers").replaceChildren();
  find("clear").hidden = true;
});
find("fields").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) find("ask").requestSubmit();
});
find("filter").addEventListener("input", showList);
for (const id of ["first", "second"]) find(id).addEventListener("change", () => { showList(); showFields(); });
find("key-form").addEventListener("submit", () => { useKey(find("key").value); start(); });
start();
