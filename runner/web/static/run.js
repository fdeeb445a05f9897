// Follows one run: states into the tables, step output into the logs. Text from a run only ever becomes
// text nodes. The page may be of a newer version than the server that goes on telling it, which then leaves out
// what it does not know.
"use strict";

const MOST_LINES = 5000;
const MOST_LETTERS = 256 * 1024;
const SEQUENCE = /\x1b\[([0-9;:]*)m|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)|\x1b[PX^_][^\x1b\n]*\x1b\\|\x1b\[[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-Z\\`-~]/g;
const ODD = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

function visible(text) {
  return (text || "").replace(ODD, (letter) => {
    const code = letter.codePointAt(0);
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    return "<U+" + code.toString(16).toUpperCase().padStart(4, "0") + ">";
  });
}

class Log {
  constructor(pre) {
    this.pre = pre;
    this.rest = "";
    this.last = null;
    this.colour = "";
    this.bold = false;
  }

  add(text) {
    const row = this.pre.closest(".log-row");
    (row || this.pre).hidden = false;
    this.pre.hidden = false;
    const follow = this.pre.scrollTop + this.pre.clientHeight >= this.pre.scrollHeight - 4;
    const lines = (this.rest + text).replace(/\r\n/g, "\n").split(/[\n\r]/);
    this.rest = lines.pop();
    if (this.last) this.last.remove();
    for (const line of lines) this.pre.append(this.line(line, true));
    this.last = this.rest ? this.line(this.rest, false) : null;
    if (this.last) this.pre.append(this.last);
    while (this.pre.childNodes.length > MOST_LINES) this.pre.firstChild.remove();
    if (follow) this.pre.scrollTop = this.pre.scrollHeight;
  }

  line(text, ended) {
    const before = [this.colour, this.bold];
    const shown = document.createElement("span");
    let at = 0;
    for (const found of text.matchAll(SEQUENCE)) {
      this.piece(shown, text.slice(at, found.index));
      if (found[1] !== undefined) this.set(found[1]);
      at = found.index + found[0].length;
    }
    this.piece(shown, text.slice(at) + (ended ? "\n" : ""));
    if (!ended) [this.colour, this.bold] = before;
    return shown;
  }

  piece(shown, text) {
    if (!text) return;
    const span = document.createElement("span");
    span.className = (this.colour + (this.bold ? " bold" : "")).trim();
    span.textContent = visible(text);
    shown.append(span);
  }

  set(codes) {
    const numbers = codes.split(/[;:]/).map(Number);
    for (let i = 0; i < numbers.length; i++) {
      const code = numbers[i];
      if (code === 0) [this.colour, this.bold] = ["", false];
      else if (code === 1) this.bold = true;
      else if (code === 22) this.bold = false;
      else if (code === 39) this.colour = "";
      else if (code >= 30 && code <= 37) this.colour = "fg" + (code - 30);
      else if (code >= 90 && code <= 97) this.colour = "fg" + (code - 82);
      else if (code === 38 || code === 48) i += numbers[i + 1] === 5 ? 2 : 4;
    }
  }
}

const logs = new Map();
const early = new Map();
// Under which a job's own words before and after its steps are told.
const FIRST = "0";
const LAST = "end";

function log(said) {
  const id = `log-${said.job}-${said.step}`;
  if (!document.getElementById("job-" + said.job)) {
    // What a job prints is told before the news of the job.
    early.set(said.job, [...(early.get(said.job) || []), said]);
    return;
  }
  // What an action does around the steps prints before its end is known, and keeps its log when the job
  // begins anew.
  if (!document.getElementById(id)) row({ id: said.job }, { key: said.step, name: said.name });
  const pre = document.getElementById(id);
  if (!logs.has(id)) logs.set(id, new Log(pre));
  logs.get(id).add(said.text);
}

function status(element, word) {
  element.textContent = word;
  element.className = "status " + word;
}

function took(step) {
  if (!step.started_at || !step.finished_at) return "";
  const seconds = (Date.parse(step.finished_at) - Date.parse(step.started_at)) / 1000;
  return seconds < 60 ? seconds.toFixed(1) + " s" : Math.floor(seconds / 60) + " min " + Math.floor(seconds % 60) + " s";
}

function why(one) {
  const tolerated = one.conclusion && one.conclusion !== one.status;
  const tries = (one.tries || []).map((found, at) => " · try " + (at + 1) + ": " + visible(found.reason)).join("");
  return visible(one.reason) + (tolerated ? " (continue-on-error)" : "") + tries + heard(one);
}

// What people and signals have said to a job that waited for them.
function heard(one) {
  return (one.waits || []).filter((wait) => wait.by).map((wait) => " · " + visible(
    [wait.subject, (wait.answer || "answered") + " by " + wait.by, wait.comment].filter(Boolean).join(": ")
  )).join("");
}

// The server has made sure that it is an address of the web.
function environment(shown, found) {
  if (!found) return;
  if (!found.url) {
    shown.textContent = visible(found.name);
    return;
  }
  const link = part("a", found.url);
  link.href = found.url;
  link.rel = "nofollow noopener noreferrer";
  shown.replaceChildren(link, " (" + visible(found.name) + ")");
}

const told = new Map();

function part(kind, text, name) {
  const made = document.createElement(kind);
  made.textContent = visible(text);
  if (name) made.className = name;
  return made;
}

function place(one) {
  return [one.file, one.line, one.line && one.col].filter(Boolean).join(":");
}

function annotations() {
  const all = Array.from(told.values()).flat();
  document.getElementById("annotations").hidden = !all.length;
  for (const level of ["error", "warning", "notice"]) {
    const group = document.querySelector("#annotations ." + level);
    const said = all.filter((one) => one.level === level);
    group.hidden = !said.length;
    group.querySelector(".count").textContent = said.length;
    group.querySelector("ul").replaceChildren(...said.map((one) => {
      const item = document.createElement("li");
      if (one.title) item.append(part("b", one.title), " ");
      item.append(part("span", one.message, "message"), " ");
      if (one.file) item.append(part("code", place(one)), " ");
      item.append(part("small", one.where));
      return item;
    }));
  }
}

// One that is written while the page is open is shown as it was written; the next load reads its Markdown.
function summary(said, step) {
  const id = `summary-${said.id}-${step.key}`;
  if (!(step.summary || "").trim() || document.getElementById(id)) return;
  const made = document.createElement("article");
  made.className = "summary";
  made.id = id;
  const head = part("h2", "Summary ");
  head.append(part("small", said.name + " / " + step.name, "reason"));
  made.append(head, part("pre", step.summary.slice(0, MOST_LETTERS), "log"));
  document.getElementById("summaries").append(made);
}

// What is planned while the page is open gets its place among what was there: a leg after the legs before
// it, a called workflow's job after what called it.
function section(said) {
  const known = document.getElementById("job-" + said.id);
  if (known) return known;
  const made = document.createElement("section");
  made.className = "job";
  made.id = "job-" + said.id;
  made.dataset.path = said.path || "";
  const head = document.createElement("h2");
  head.append(part("span", "", "status"), " ", part("span", said.name, "name"), " ", part("small", "", "reason"));
  head.append(" ", part("small", "", "environment"));
  const table = document.createElement("table");
  const titles = table.createTHead().insertRow();
  for (const title of ["status", "step", "took", ""]) titles.append(part("th", title));
  table.createTBody();
  made.append(head, output(said, FIRST), table, output(said, LAST));
  let before = null;
  for (let path = said.path; path && !before; path = path.slice(0, Math.max(0, path.lastIndexOf("/")))) {
    for (const one of jobs.children) {
      if (one.dataset.path === path || one.dataset.path.startsWith(path + "/")) before = one;
    }
  }
  if (before) before.after(made);
  else jobs.append(made);
  return made;
}

function output(said, key) {
  const pre = part("pre", "", "log");
  pre.id = `log-${said.id}-${key}`;
  pre.hidden = key === FIRST || key === LAST;
  return pre;
}

// What actions do before the job's steps stands before them, what they do after them behind.
function moment(key) {
  return key.endsWith(".pre") ? 0 : key.endsWith(".post") ? 2 : 1;
}

function row(said, step) {
  const id = `step-${said.id}-${step.key}`;
  const known = document.getElementById(id);
  if (known) return known;
  const body = section(said).querySelector("tbody");
  const made = document.createElement("tr");
  made.id = id;
  made.insertCell().append(part("span", "", "status"));
  made.append(part("td", step.name, "name"));
  made.insertCell().className = "took";
  made.insertCell().className = "reason";
  const below = document.createElement("tr");
  below.className = "log-row";
  below.hidden = true;
  const cell = below.insertCell();
  cell.colSpan = 4;
  cell.append(output(said, step.key));
  const after = Array.from(body.rows).find((one) => one.id && moment(one.id) > moment(step.key));
  body.insertBefore(made, after || null);
  body.insertBefore(below, after || null);
  return made;
}

function job(said) {
  told.set(said.id, said.steps.flatMap((step) =>
    (step.annotations || []).map((one) => ({ ...one, where: said.name + " / " + step.name }))));
  annotations();
  const head = section(said).querySelector("h2");
  status(head.querySelector(".status"), said.status);
  head.querySelector(".name").textContent = visible(said.name);
  head.querySelector(".reason").textContent = why(said);
  environment(head.querySelector(".environment"), said.environment);
  let before = null;
  for (const step of said.steps) {
    const shown = row(said, step);
    // One that began before another may be known of only after it.
    if (before && before.compareDocumentPosition(shown) & Node.DOCUMENT_POSITION_PRECEDING) {
      before.nextElementSibling.after(shown, shown.nextElementSibling);
    }
    before = shown;
    status(shown.querySelector(".status"), step.status);
    shown.querySelector(".name").textContent = visible(step.name);
    shown.querySelector(".took").textContent = took(step);
    const kept = step.job && step.job !== said.id ? " (kept)" : "";
    const reason = shown.querySelector(".reason");
    reason.textContent = why(step) + kept;
    if (step.run) {
      const child = part("a", "run " + step.run, "");
      child.href = "/runs/" + step.run;
      reason.append(" ", child);
    }
    if (step.line) reason.append(" ", part("code", step.line, "line"));
    if (typeof step.value === "string") reason.append(" ", part("code", step.value, "value"));
    summary(said, step);
  }
  const waiting = early.get(said.id) || [];
  early.delete(said.id);
  waiting.forEach(log);
}

const jobs = document.getElementById("jobs");
const source = new EventSource(jobs.dataset.stream);
source.addEventListener("run", (event) => {
  const said = JSON.parse(event.data);
  status(document.getElementById("run-status"), said.status);
  document.getElementById("run-reason").textContent = visible(said.reason);
});
source.addEventListener("job", (event) => job(JSON.parse(event.data)));
source.addEventListener("log", (event) => log(JSON.parse(event.data)));
source.addEventListener("end", () => source.close());
