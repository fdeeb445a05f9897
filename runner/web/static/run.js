// Follows one run: states into the tables, step output into the logs. Text from a run only ever becomes
// text nodes.
"use strict";

const MOST_LINES = 5000;
const SEQUENCE = /\x1b\[([0-9;:]*)m|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)|\x1b[PX^_][^\x1b\n]*\x1b\\|\x1b\[[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-Z\\`-~]/g;
const ODD = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

function visible(text) {
  return text.replace(ODD, (letter) => {
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

function log(said) {
  const id = `log-${said.job}-${said.number}`;
  const pre = document.getElementById(id);
  if (!pre) return;
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

function job(said) {
  told.set(said.id, said.steps.flatMap((step) =>
    step.annotations.map((one) => ({ ...one, where: said.name + " / " + step.name }))));
  annotations();
  const section = document.getElementById("job-" + said.id);
  if (!section) return;
  status(section.querySelector("h2 .status"), said.status);
  section.querySelector("h2 .reason").textContent = visible(said.reason);
  for (const step of said.steps) {
    const row = document.getElementById(`step-${said.id}-${step.number}`);
    status(row.querySelector(".status"), step.status);
    row.querySelector(".took").textContent = took(step);
    row.querySelector(".reason").textContent = visible(step.reason);
  }
}

const jobs = document.getElementById("jobs");
const source = new EventSource(jobs.dataset.stream);
source.addEventListener("run", (event) => status(document.getElementById("run-status"), JSON.parse(event.data).status));
source.addEventListener("job", (event) => job(JSON.parse(event.data)));
source.addEventListener("log", (event) => log(JSON.parse(event.data)));
source.addEventListener("end", () => source.close());
