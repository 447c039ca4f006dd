"use strict";
// The raters' page: from a file, where answers are downloaded at the end, or from a server that keeps them.

const byId = id => document.getElementById(id);
const study = JSON.parse(byId("data").textContent);
const served = document.documentElement.dataset.served === "true";
const FORMAT = 1;

function make(tag, parent, properties = {}) {
  const node = Object.assign(document.createElement(tag), properties);
  parent?.append(node);
  return node;
}

// ------------------------------------------------------------------------- order: all that is random follows from the code

function hash(text) {  // FNV-1a, 32 bits
  let h = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) h = Math.imul(h ^ byte, 0x01000193);
  return h >>> 0;
}
function generator(text) {  // a counter through MurmurHash3's finalizer: evenly spread numbers in [0, 1)
  let state = hash(text);
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let x = state;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    return ((x ^ (x >>> 16)) >>> 0) / 2 ** 32;
  };
}
function shuffled(list, random) {  // Fisher and Yates
  const result = [...list];
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [result[i], result[j]] = [result[j], result[i]];
  }
  return result;
}
function makePlan(code) {  // [{ part, question, shown: candidates in the order of their places }]
  const random = generator(`${study.id} ${code}`);
  return shuffled(study.parts, random).flatMap(part => {
    const questions = shuffled(part.questions, random);
    const checks = questions.filter(question => question.round === null);
    const others = questions.filter(question => question.round !== null);
    const rounds = 1 + Math.max(...others.map(question => question.round));
    const first = Math.floor(random() * rounds);
    const turn = question => (question.round - first + rounds) % rounds;
    const taken = others.sort((a, b) => turn(a) - turn(b)).slice(0, part.take);
    for (const check of checks) taken.splice(1 + Math.floor(random() * taken.length), 0, check);
    return taken.map(question => ({ part, question, shown: shuffled(question.candidates, random) }));
  });
}

// ------------------------------------------------------------------------------------ answers, kept here and sent if served

let code = "", plan = [], position = 0, finished = false;
let votes = {};  // question -> { question, choice, shown, seconds, zoom, revision, sent }
let storageWorks = true;

const storageKey = name => `picture-study/${study.id}/${name}`;
function recall(name) {
  try {
    return JSON.parse(localStorage.getItem(storageKey(name)));
  } catch {
    return null;
  }
}
function keep() {
  try {
    localStorage.setItem(storageKey(`rater/${code}`), JSON.stringify({ votes, finished }));
    localStorage.setItem(storageKey("last"), JSON.stringify(code));
  } catch {
    storageWorks = false;
  }
}
function merge(list, sent) {  // later changes of the same answer win
  for (const vote of list)
    if (!(votes[vote.question]?.revision > vote.revision)) votes[vote.question] = { ...vote, sent };
}
const answered = () => plan.filter(step => votes[step.question.id]).length;
const unsent = () => Object.values(votes).filter(vote => !vote.sent);

async function post(name, body) {
  const answer = await fetch(`api/${name}`, {
    method: "POST", headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ study: study.id, rater: code, ...body }),
  });
  const content = await answer.json();
  if (!answer.ok && answer.status !== 409) throw Object.assign(new Error(content.error), { status: answer.status });
  return { ok: answer.ok, ...content };
}

let sending = null, retry = 0;
function send() {  // every answer not yet confirmed, one after the other; tries again until all are
  if (!served) return Promise.resolve();
  clearTimeout(retry);
  sending ??= sendAll().finally(() => { sending = null; showStatus(); });
  return sending;
}
async function sendAll() {
  try {
    for (let vote; (vote = unsent()[0]);) {
      const { sent, ...body } = vote;
      const answer = await post("vote", { vote: body });
      const now = votes[vote.question];
      if (answer.ok) now.sent = now.revision === vote.revision;  // changed while it was under way: once more
      else now.revision = answer.revision + 1;  // changed on another device: the choice made here is the newer one
      keep();
    }
  } catch (error) {
    if (error.status !== 403) retry = setTimeout(send, 3000);
    else if (!finished) {
      finished = true;
      showEnd();
    }
  }
}
function showStatus() {
  const text = served
    ? unsent().length ? "not yet sent; trying again" : answered() ? "saved" : ""
    : storageWorks ? answered() ? "saved on this device" : "" : "this browser saves nothing: please finish in one go";
  if (byId("status").textContent !== text) byId("status").textContent = text;
}
function download() {
  const list = Object.values(votes).map(({ sent, ...vote }) => vote);
  const content = JSON.stringify({ format: FORMAT, study: study.id, rater: code, finished, votes: list }, null, 1);
  const link = make("a", document.body, { download: `study-${code}.json` });
  link.href = URL.createObjectURL(new Blob([content], { type: "application/json" }));
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// --------------------------------------------------------------------------------------------------------------- screens

function show(name) {
  for (const main of document.querySelectorAll("main")) main.hidden = main.id !== name;
}
function randomCode() {
  const letters = "abcdefghjkmnpqrstuvwxyz23456789";  // none that look alike
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), byte => letters[byte % letters.length]).join("");
}
function showIntro() {
  document.title = byId("title").textContent = study.title;
  const total = study.parts.reduce(
    (sum, part) => sum + part.take + part.questions.filter(question => question.round === null).length, 0);
  byId("count").textContent = `${total} question${total > 1 ? "s" : ""}`;
  const given = new URLSearchParams(location.search).get("rater");
  byId("code").value = given ?? recall("last") ?? randomCode();
  byId("from-file").hidden = served;
  showButton();
  show("intro");
}
function showButton() {
  const known = recall(`rater/${byId("code").value}`);
  byId("start").querySelector("button").textContent = known ? "Continue" : "Start";
}
byId("code").oninput = showButton;

byId("start").onsubmit = async event => {
  event.preventDefault();
  code = byId("code").value;
  const known = recall(`rater/${code}`);
  votes = known?.votes ?? {};
  finished = known?.finished ?? false;
  byId("intro-problem").textContent = "";
  if (served) {
    try {
      const answer = await post("start", {});
      merge(answer.votes, true);
      finished = answer.finished;
    } catch (error) {
      byId("intro-problem").textContent = error.status ? error.message
        : "The study's server does not answer. Please try again in a moment.";
      return;
    }
  }
  begin();
};
byId("load").onchange = async event => {
  try {
    const content = JSON.parse(await event.target.files[0].text());
    if (content.study !== study.id) throw new Error();
    code = content.rater;
    votes = recall(`rater/${code}`)?.votes ?? {};
    merge(content.votes, false);
    finished = content.finished;
    begin();
  } catch {
    byId("intro-problem").textContent = "This file holds no answers to this study.";
  }
};
function begin() {
  plan = makePlan(code);
  keep();
  send();
  const open = plan.findIndex(step => !votes[step.question.id]);
  if (finished || open < 0) return showEnd();
  showQuestion(open);
}
function showEnd() {
  leaveQuestion();
  const many = plan.length;
  byId("end-title").textContent = finished ? "Thank you" : "All questions answered";
  byId("end-text").textContent = !finished
    ? `You may go back and change answers. Once you finish, all ${many} are final.`
    : served ? "Your answers have arrived. You can close this page."
      : "Download your answers and send the file to whoever asked you to take part.";
  byId("end-back").hidden = byId("finish").hidden = finished;
  byId("download").hidden = !finished || served;
  byId("end-problem").textContent = "";
  show("end");
  byId("end-title").focus();
}
byId("end-back").onclick = () => showQuestion(plan.length - 1);
byId("download").onclick = byId("save").onclick = download;
byId("finish").onclick = async () => {
  byId("finish").disabled = true;
  try {
    await send();
    if (served && !finished) {
      if (unsent().length) throw new TypeError();
      const answer = await post("finish", {});
      if (!answer.ok) throw Object.assign(new Error(answer.error), { status: 409 });
    }
    finished = true;
    keep();
    showEnd();
  } catch (error) {
    byId("end-problem").textContent = error.status ? error.message
      : "The server does not answer. Your answers are kept on this device; please try again in a moment.";
  }
  byId("finish").disabled = false;
};
