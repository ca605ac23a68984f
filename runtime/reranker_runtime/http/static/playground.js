"use strict";
// Texts reach the page through textContent and value only; the Content-Security-Policy's Trusted Types hold it to that.

const EXAMPLE = {
  query: "Why is my sourdough loaf so dense?",
  passages: [
    "Sourdough has been baked in San Francisco since the gold rush of 1849.",
    "Dough that has not risen long enough holds too little gas, and the bread comes out tight and heavy.",
    "A dense forest lets little light down to its floor.",
    "A weak starter cannot raise a loaf: feed it until it doubles within six hours.",
    "Rye flour forms little gluten, so breads made from it have a close crumb.",
  ],
};
const PAUSE = 250; // milliseconds without a key before a ranking is asked for
const RETRIES = 20; // in a row, before only the button asks again

const $ = (id) => document.getElementById(id);
const query = $("query"), list = $("passages"), results = $("results"), answer = $("answer");
const url = (path) => new URL(path, document.baseURI).href; // relative, so that a proxy may serve this below a prefix
const shown = new WeakMap(); // a passage's <li> -> its place in the ranking
let most = Infinity, timer = 0, waiting = 0, retries = 0, running = null, last = null, chosen = false;

// ---- passages

function add(text = "", before = null) {
  const item = $("passage").content.firstElementChild.cloneNode(true);
  item.querySelector("textarea").value = text;
  list.insertBefore(item, before);
  return item;
}

function remove(item) {
  const next = item.nextElementSibling || item.previousElementSibling;
  item.remove();
  (next ? next.querySelector("textarea") : $("add")).focus();
  edited();
}

function replace(texts) {
  list.replaceChildren();
  texts.forEach((text) => add(text));
}

function number() {
  [...list.children].forEach((item, n) => {
    item.querySelector(".number").textContent = n + 1;
    item.querySelector("textarea").setAttribute("aria-label", `Passage ${n + 1}`);
    item.querySelector(".remove").setAttribute("aria-label", `Remove passage ${n + 1}`);
  });
  $("count").textContent = list.children.length;
  $("most").textContent = Number.isFinite(most) ? `of ${most}` : "";
}

function edited() {
  number();
  answer.toggleAttribute("data-old", results.children.length > 0);
  retries = 0;
  clearTimeout(timer);
  clearInterval(waiting);
  running?.abort(); // its answer would be to an older question
  if ($("live").checked) timer = setTimeout(rank, PAUSE);
}

// ---- asking

function headers() {
  const key = $("key").value.trim();
  return key ? { Authorization: `Bearer ${key}` } : {};
}

function question(items) {
  const body = {
    query: { text: query.value },
    passages: items.map((item) => ({ text: item.querySelector("textarea").value })),
    truncate: $("truncate").checked ? "END" : "NONE",
  };
  const instruction = $("instruction").value.trim();
  return instruction ? { ...body, instruction } : body;
}

async function rank() {
  clearTimeout(timer);
  clearInterval(waiting);
  running?.abort();
  const items = [...list.children].filter((item) => item.querySelector("textarea").value.trim());
  if (!query.value.trim() || !items.length) return nothing();
  const mine = (running = new AbortController());
  const body = question(items);
  answer.setAttribute("aria-busy", "true");
  const begin = performance.now();
  try {
    const response = await fetch(url("v1/ranking"), {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers() },
      body: JSON.stringify(body),
      signal: mine.signal,
    });
    const text = await response.text();
    if (mine !== running) return;
    const milliseconds = performance.now() - begin;
    if (!response.ok) return refused(response, text, items);
    show(JSON.parse(text), items, milliseconds, response.headers.get("X-Reranker-Truncated"));
    command(body);
  } catch (error) {
    if (mine !== running || error.name === "AbortError") return;
    problem("No answer", `${url("v1/ranking")} did not answer (${error.message}). Is the server still running?`, 2);
  } finally {
    if (mine === running) answer.removeAttribute("aria-busy");
  }
}

// ---- the ranking

function sigmoid(x) {
  return x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x));
}

function show({ rankings, usage }, items, milliseconds, emptied) {
  calm();
  last = rankings;
  const before = new Map([...results.children].map((item) => [item, item.getBoundingClientRect().top]));
  results.replaceChildren(...rankings.map((ranking, n) => place(items[ranking.index], ranking, n)));
  bars();
  move(before);
  $("latency").replaceChildren(`${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} `, small("ms"));
  $("tokens").textContent = usage.total_tokens.toLocaleString("en");
  $("ranked").textContent = rankings.length.toLocaleString("en");
  $("note").hidden = !emptied;
  $("note").textContent = emptied ? `The query alone fills the model's limit: nothing is left of ${emptied} passages.` : "";
  $("figures").hidden = $("curl-box").hidden = $("legend").hidden = false;
  $("empty").hidden = true;
  const best = rankings[0];
  if ($("model").dataset.state === "unknown") meet(); // a key may be what it waited for
  say(`Ranked ${rankings.length} passages. Best: passage ${position(items[best.index])}, score ${score(best.logit)}.`);
}

const position = (item) => [...list.children].indexOf(item) + 1;
const score = (logit) => sigmoid(logit).toFixed(3);

function small(text) {
  const element = document.createElement("small");
  element.textContent = text;
  return element;
}

function place(source, { logit }, n) {
  const item = shown.get(source) || $("result").content.firstElementChild.cloneNode(true);
  shown.set(source, item);
  item.querySelector(".place").textContent = n + 1;
  item.querySelector(".text").textContent = source.querySelector("textarea").value.trim();
  item.querySelector(".score").textContent = score(logit);
  item.querySelector(".logit").textContent = `${logit < 0 ? "−" : "+"}${Math.abs(logit).toFixed(3)}`;
  item.querySelector(".from").textContent = position(source);
  return item;
}

function bars() {
  if (!last) return;
  const spread = document.querySelector("[name=scale]:checked").value === "spread";
  const high = last[0].logit, low = last.at(-1).logit;
  last.forEach(({ logit }, n) => {
    const part = spread ? (high > low ? (logit - low) / (high - low) : 1) : sigmoid(logit);
    results.children[n].querySelector(".bar span").style.width = `${(100 * part).toFixed(2)}%`;
  });
  $("legend").textContent = spread
    ? "Bars run from this answer's lowest logit to its highest. The score is the logit's sigmoid; the logit stands below it."
    : "Bars show the score, 0 to 1: the sigmoid of the model's raw logit, which stands below it.";
}

function move(before) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const item of results.children) {
    const by = before.has(item) ? before.get(item) - item.getBoundingClientRect().top : 0;
    if (by) item.animate([{ transform: `translateY(${by}px)` }, { transform: "none" }], { duration: 220, easing: "ease-out" });
  }
}

function nothing() {
  running = last = null;
  calm();
  answer.removeAttribute("aria-busy");
  results.replaceChildren();
  $("figures").hidden = $("curl-box").hidden = $("legend").hidden = $("note").hidden = true;
  $("empty").hidden = false;
  say("");
}

function calm() {
  $("problem").hidden = true;
  retries = 0;
  answer.removeAttribute("data-old");
  list.querySelectorAll("[data-wrong]").forEach((item) => {
    item.removeAttribute("data-wrong");
    item.querySelector("textarea").removeAttribute("aria-invalid");
  });
}

function say(text) {
  $("status").textContent = text;
}

function command(body) {
  const quoted = JSON.stringify(body).replaceAll("'", "'\\''");
  const key = $("key").value.trim() ? " -H \"Authorization: Bearer $API_KEY\"" : "";
  $("curl").textContent = `curl -s ${url("v1/ranking")} -H 'Content-Type: application/json'${key} -d '${quoted}'`;
}

// ---- what went wrong

function refused(response, text, items) {
  let told = {};
  try {
    told = { ...JSON.parse(text) };
  } catch {
    told = { message: text.slice(0, 500) }; // a proxy's own page
  }
  const wait = Number.parseInt(response.headers.get("Retry-After"), 10);
  const culprit = items[told.detail?.passage];
  const title = `Error ${response.status}${culprit ? ` in passage ${position(culprit)}` : ""}`;
  problem(title, told.message || response.statusText, response.status === 401 ? NaN : wait);
  if (response.status === 401) $("key-box").hidden = false;
  if (culprit) {
    culprit.setAttribute("data-wrong", "");
    culprit.querySelector("textarea").setAttribute("aria-invalid", "true");
  }
}

function problem(title, text, seconds) {
  const tried = retries;
  calm();
  retries = tried + 1;
  answer.toggleAttribute("data-old", results.children.length > 0);
  $("empty").hidden = true;
  $("problem-title").textContent = title;
  $("problem-text").textContent = text;
  $("problem-retry").hidden = !(seconds >= 0);
  $("countdown").textContent = "";
  $("problem").hidden = false;
  say("");
  if (!(seconds >= 0) || retries > RETRIES) return;
  const due = Date.now() + 1000 * Math.max(seconds, 1);
  const tick = () => {
    const left = Math.ceil((due - Date.now()) / 1000);
    if (left <= 0) return rank();
    $("countdown").textContent = `or by itself in ${left} s`;
  };
  waiting = setInterval(tick, 250);
  tick();
}

// ---- the model

async function read(path) {
  const response = await fetch(url(path), { headers: headers() });
  return response.ok ? response.json() : null;
}

async function meet() {
  try {
    const [models, about] = await Promise.all([read("v1/models"), read("v1/metadata")]);
    if (!models || !about) return model("a key is needed to see the model", "unknown");
    model(models.data.map(({ id }) => id).join(", "), about.dtype ? "ready" : "loading");
    most = about.limits?.maxPassages ?? Infinity;
    const limit = about.limits?.maxTokens;
    const facts = [about.architecture, about.dtype && `${about.dtype} on ${about.device}`, limit && `${limit} tokens a sequence`];
    $("facts").textContent = [...facts, `release ${about.version}`].filter(Boolean).join(" · ");
    $("instruction-box").hidden = !about.instruction; // most models take none
    // A cosine's sigmoid hardly leaves the middle: there the differences are what the bars can show.
    if (about.family === "sentence-encoder" && !chosen) document.querySelector("[value=spread]").checked = true;
    number();
    bars();
    if (!about.dtype) setTimeout(meet, 1000); // still loading
  } catch {
    model("the server does not answer", "failed");
  }
}

function model(text, state) {
  $("model-name").textContent = text;
  $("model").dataset.state = state;
}

// ---- the theme

function theme(chosen) {
  if (chosen) document.documentElement.dataset.theme = chosen;
  const dark = (chosen || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  $("theme").textContent = dark ? "Light" : "Dark";
  $("theme").setAttribute("aria-label", dark ? "Switch to the light theme" : "Switch to the dark theme");
  $("theme").onclick = () => theme(dark ? "light" : "dark");
}

// ---- wiring

$("request").addEventListener("submit", (event) => {
  event.preventDefault();
  rank();
});
$("request").addEventListener("input", (event) => {
  const { id, checked } = event.target;
  if (id === "many-text" || (id === "live" && !checked)) return; // neither is part of the question
  edited();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    rank();
  }
});
list.addEventListener("click", (event) => {
  const button = event.target.closest(".remove");
  if (button) remove(button.closest("li"));
});
$("add").addEventListener("click", () => {
  add().querySelector("textarea").focus();
  number();
});
$("many").addEventListener("click", () => {
  const open = $("many-box").toggleAttribute("hidden") === false;
  $("many").setAttribute("aria-expanded", String(open));
  if (open) $("many-text").focus();
});
for (const [id, fresh] of [["many-add", false], ["many-replace", true]]) {
  $(id).addEventListener("click", () => {
    const texts = $("many-text").value.split(/\r?\n/).map((line) => line.trim()).filter(Boolean);
    if (fresh) list.replaceChildren();
    texts.forEach((text) => add(text));
    $("many-text").value = "";
    $("many").click();
    $("many").focus();
    edited();
  });
}
$("clear").addEventListener("click", () => {
  query.value = "";
  replace([""]);
  nothing();
  edited();
  query.focus();
});
$("example").addEventListener("click", () => {
  query.value = EXAMPLE.query;
  replace(EXAMPLE.passages);
  edited();
});
$("scale").addEventListener("change", () => {
  chosen = true;
  bars();
});
$("retry").addEventListener("click", rank);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => theme(document.documentElement.dataset.theme));

theme();
query.value = EXAMPLE.query;
replace(EXAMPLE.passages);
number();
meet();
rank();
