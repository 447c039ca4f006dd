"use strict";
// One question: its pictures, enlarged and moved together, and the keys. Continues page.js in the same scope.

// ------------------------------------------------------------------------------------------------------------ a question

const stage = byId("stage"), ask = byId("ask");
const LETTERS = "ABCDEFGHI";
let single = false, wanted = null;  // one picture at a time: now; as the rater chose, else on small screens
let shownPanel = 0, zoom = 1, mostZoom = 1, u = .5, v = .5;  // zoom 1: whole; (u, v): the picture's point in the middle
let spent = 0, since = null;  // milliseconds looked at the question; since when the clock runs

const picture = name => `images/${name}.webp`;
const running = () => !ask.hidden && !document.hidden && !document.querySelector("dialog[open]") && !stage.classList.contains("loading");
function clock() {
  if (since !== null) spent += performance.now() - since;
  since = running() ? performance.now() : null;
}
document.addEventListener("visibilitychange", clock);

function leaveQuestion() {
  clock();
  ask.classList.remove("held", "lowres");
}
function showQuestion(index) {
  leaveQuestion();
  position = index;
  const { part, question, shown } = plan[position], vote = votes[question.id];
  const reference = part.kind === "closest" ? "Reference" : "Photo, enlarged";
  byId("asked").textContent = part.asked;
  byId("place").textContent = `${position + 1} of ${plan.length}`;
  byId("bar").value = answered() / plan.length;
  byId("hold").textContent = `hold: ${part.kind === "closest" ? "reference" : "photo"}`;
  byId("back").disabled = position === 0;

  const panels = shown.map((name, i) => ({ name, letter: LETTERS[i] }));
  panels.splice(shown.length === 2 ? 1 : 0, 0, { name: question.source });
  stage.replaceChildren(...panels.map(({ name, letter }) => {
    const panel = make("figure", null, { className: letter ? "panel" : "panel source" });
    const view = make("div", panel, { className: "view" });
    const label = letter ? `picture ${letter}` : reference.toLowerCase();
    make("img", view, { className: "over", src: picture(name), alt: label, draggable: false });
    const below = letter ? question.source : question.lowres;
    if (below) make("img", view, { className: "under", src: picture(below), alt: "", draggable: false });
    const caption = make(letter ? "label" : "figcaption", panel, { className: "caption" });
    if (letter) {
      make("input", caption, { type: "radio", name: "choice", value: name, checked: vote?.choice === name, ariaLabel: `choose picture ${letter}` });
      make("span", caption, { className: "letter", textContent: letter });
      make("span", caption, { className: "word", ariaHidden: "true" });
    } else {
      make("span", caption, { textContent: reference });
      if (question.lowres) make("button", caption, { type: "button", textContent: "low res", title: "The photo as it was, enlarged", ariaPressed: "false", onclick: toggleLowres });
    }
    return panel;
  }));
  byId("tabs").replaceChildren(...panels.map(({ letter }, i) =>
    make("button", null, { textContent: letter ?? reference.split(",")[0], onclick: () => turnTo(i) })));

  spent = (vote?.seconds ?? 0) * 1000;
  mostZoom = vote?.zoom ?? 1;
  [zoom, u, v] = [1, .5, .5];
  show("ask");
  turnTo(panels.findIndex(({ letter }) => letter));
  arrange();
  load();
  showStatus();
  const following = plan[position + 1]?.question;
  for (const name of following ? [following.source, ...following.candidates] : []) new Image().src = picture(name);
}
async function load() {  // no choice before all pictures are there
  stage.classList.add("loading");
  showChoice();
  clock();
  const panels = [...stage.children];
  const results = await Promise.allSettled(panels.flatMap(panel =>
    [...panel.querySelectorAll("img")].map(image => image.decode().catch(error => { throw Object.assign(error, { panel }); }))));
  if (panels[0] !== stage.firstElementChild) return;  // another question by now
  const broken = results.filter(result => result.status === "rejected").map(result => result.reason.panel);
  for (const panel of new Set(broken)) {
    const cover = make("div", panel, { className: "broken", role: "alert" });
    make("p", cover, { textContent: "This picture could not be loaded." });
    make("button", cover, { textContent: "Try again", onclick: () => showQuestion(position) });
  }
  if (broken.length) return;
  stage.classList.remove("loading");
  showChoice();
  clock();
}
const chosen = () => stage.querySelector("input:checked")?.value;
const ready = () => chosen() && !stage.classList.contains("loading");
function showChoice() {
  byId("next").disabled = !ready();
  byId("next").textContent = position === plan.length - 1 ? "Done →" : "Next →";
  [...byId("tabs").children].forEach((tab, i) => {
    const panel = stage.children[i], input = panel.querySelector("input");
    tab.textContent = tab.textContent.replace(" ✓", "") + (input?.checked ? " ✓" : "");
    tab.ariaPressed = String(panel.classList.contains("shown"));
  });
}
stage.addEventListener("change", showChoice);
stage.addEventListener("click", event => {  // chosen by mouse or finger: arrow keys go on moving the pictures
  if (event.target.matches?.("input") && event.pointerType) event.target.blur();
});
function choose(index) {
  const inputs = [...stage.querySelectorAll("input")];
  if (!inputs[index]) return;
  inputs[index].checked = true;
  turnTo([...stage.children].indexOf(inputs[index].closest(".panel")));
  showChoice();
}
function next() {
  if (!ready()) return;
  clock();
  const { question, shown } = plan[position], before = votes[question.id], choice = chosen();
  if (before?.choice !== choice) {
    const seconds = Math.round(spent / 100) / 10;
    votes[question.id] = { question: question.id, choice, shown, seconds, zoom: Math.round(mostZoom * 10) / 10,
      revision: (before?.revision ?? 0) + 1, sent: false };
    keep();
    send();
  }
  if (position + 1 < plan.length) return showQuestion(position + 1);
  const open = plan.findIndex(step => !votes[step.question.id]);
  if (open < 0) showEnd();
  else showQuestion(open);
}
const back = () => { if (position > 0) showQuestion(position - 1); };
byId("next").onclick = next;
byId("back").onclick = back;

// --------------------------------------------------------------------------------------------- layout, zoom: all together

function turnTo(index) {  // the picture that a small screen or the single layout shows
  shownPanel = (index + stage.children.length) % stage.children.length;
  [...stage.children].forEach((panel, i) => panel.classList.toggle("shown", i === shownPanel));
  showChoice();
  if (single) place();
}
function arrange() {
  single = wanted ?? innerWidth < 640;
  ask.classList.toggle("single", single);
  byId("layout").ariaPressed = String(single);
  let columns = 1;
  if (!single) {  // as many columns as make the pictures largest
    const [w, h] = plan[position].question.size, count = stage.children.length, gap = 10, caption = 44;
    let best = 0;
    for (let c = 1; c <= count; c++) {
      const rows = Math.ceil(count / c);
      const scale = Math.min(((stage.clientWidth - 24 - gap * (c - 1)) / c) / w, ((stage.clientHeight - gap * (rows - 1)) / rows - caption) / h);
      if (scale > best) [best, columns] = [scale, c];
    }
  }
  stage.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
  stage.style.gridAutoRows = "minmax(0, 1fr)";
  place();
}
function fitted() {  // [a view's width, height, scale at zoom 1]
  const view = stage.querySelector(single ? ".shown .view" : ".view"), [w, h] = plan[position].question.size;
  return [view.clientWidth, view.clientHeight, Math.min(view.clientWidth / w, view.clientHeight / h)];
}
function place() {
  const [w, h] = plan[position].question.size, [width, height, fit] = fitted();
  if (!width) return;
  zoom = Math.min(Math.max(zoom, 1), Math.max(16 / (fit * devicePixelRatio), 1));
  mostZoom = Math.max(mostZoom, zoom);
  const scale = fit * zoom, across = width / (2 * scale * w), down = height / (2 * scale * h);
  u = across < .5 ? Math.min(Math.max(u, across), 1 - across) : .5;
  v = down < .5 ? Math.min(Math.max(v, down), 1 - down) : .5;
  for (const image of stage.querySelectorAll("img")) {
    image.style.width = `${w}px`;
    image.style.height = `${h}px`;
    image.style.transform = `translate(${width / 2 - u * w * scale}px, ${height / 2 - v * h * scale}px) scale(${scale})`;
    image.classList.toggle("sharp", scale * devicePixelRatio >= 3);
  }
  byId("whole").textContent = zoom === 1 ? "fit" : `${Math.round(scale * devicePixelRatio * 100)} %`;
  byId("out").disabled = zoom === 1;
}
function zoomAt(factor, x, y) {  // (x, y): pixels from a view's top left, which stay where they are; its middle if not given
  const [w, h] = plan[position].question.size, [width, height, fit] = fitted(), old = fit * zoom;
  const dx = (x ?? width / 2) - width / 2, dy = (y ?? height / 2) - height / 2;
  const target = Math.min(Math.max(zoom * factor, 1), Math.max(16 / (fit * devicePixelRatio), 1)), now = fit * target;
  u += dx / w * (1 / old - 1 / now);
  v += dy / h * (1 / old - 1 / now);
  zoom = target;
  place();
}
function move(dx, dy) {
  const [w, h] = plan[position].question.size, [, , fit] = fitted();
  u -= dx / (w * fit * zoom);
  v -= dy / (h * fit * zoom);
  place();
}
const pixelZoom = () => Math.max(1 / (fitted()[2] * devicePixelRatio), 1);
function whole() { zoom = 1; place(); }
function onePixel() { zoomAt(pixelZoom() / zoom); }

const fingers = new Map();  // pointer id -> [x, y]
const inView = event => {
  const view = event.target.closest?.(".view"), box = view?.getBoundingClientRect();
  return box && [event.clientX - box.x, event.clientY - box.y];
};
stage.addEventListener("wheel", event => {
  const at = inView(event);
  if (!at) return;
  event.preventDefault();
  const lines = event.deltaMode === 1 ? 24 : 1;
  zoomAt(Math.exp(-event.deltaY * lines / (event.ctrlKey ? 100 : 400)), ...at);
}, { passive: false });
stage.addEventListener("pointerdown", event => {
  const view = event.target.closest(".view");
  if (!view || event.button) return;
  view.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, inView(event));
});
stage.addEventListener("pointermove", event => {
  const old = fingers.get(event.pointerId), now = old && inView(event);
  if (!now) return;
  const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
  fingers.set(event.pointerId, now);
  if (!other) return move(now[0] - old[0], now[1] - old[1]);
  const apart = point => Math.hypot(point[0] - other[0], point[1] - other[1]);
  move((now[0] - old[0]) / 2, (now[1] - old[1]) / 2);
  zoomAt(apart(now) / Math.max(apart(old), 1), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
});
for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, event => fingers.delete(event.pointerId));
stage.addEventListener("dblclick", event => {
  const at = inView(event);
  if (at) zoom > 1 ? whole() : zoomAt(Math.max(pixelZoom(), 3), ...at);
});
new ResizeObserver(() => { if (!ask.hidden && plan.length) arrange(); }).observe(stage);

byId("in").onclick = () => zoomAt(1.5);
byId("out").onclick = () => zoomAt(1 / 1.5);
byId("whole").onclick = whole;
byId("pixel").onclick = onePixel;
byId("layout").onclick = () => { wanted = !single; arrange(); };
function toggleLowres(event) {
  const on = ask.classList.toggle("lowres");
  event.target.ariaPressed = String(on);
}
const holding = on => ask.classList.toggle("held", on);
byId("hold").onpointerdown = () => holding(true);
for (const name of ["pointerup", "pointerleave", "pointercancel", "blur"]) byId("hold").addEventListener(name, () => holding(false));
byId("hold").oncontextmenu = event => event.preventDefault();
byId("hold").onkeydown = event => { if (event.key === " " || event.key === "Enter") holding(true); };
byId("hold").onkeyup = () => holding(false);

// ------------------------------------------------------------------------------------------------------- dialogs and keys

function pause() {
  const link = new URL(location.href);
  link.searchParams.set("rater", code);
  byId("paused-text").textContent = served
    ? `You may close this page. To go on, open ${link.href} on any device.`
    : `You may close this page; it goes on in this browser where you stopped. Your code is ${code}.`;
  byId("save").hidden = served;
  byId("paused").showModal();
  clock();
}
byId("pause").onclick = pause;
byId("help-open").onclick = () => { byId("help").showModal(); clock(); };
byId("resume").onclick = () => byId("paused").close();
byId("help-close").onclick = () => byId("help").close();
for (const dialog of document.querySelectorAll("dialog")) dialog.onclose = clock;

const KEYS = {
  Enter: next, Backspace: back, "+": () => zoomAt(1.5), "=": () => zoomAt(1.5), "-": () => zoomAt(1 / 1.5), 0: whole, x: onePixel,
  s: () => byId("layout").click(), ",": () => turnTo(shownPanel - 1), ".": () => turnTo(shownPanel + 1), p: pause,
  "?": () => byId("help-open").click(), r: () => holding(true),
  ArrowLeft: () => move(60, 0), ArrowRight: () => move(-60, 0), ArrowUp: () => move(0, 60), ArrowDown: () => move(0, -60),
};
addEventListener("keydown", event => {
  if (ask.hidden || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const on = event.target;
  if (on.matches?.("button") && event.key === "Enter") return;  // presses the button
  if (on.matches?.("input") && event.key.startsWith("Arrow")) return;  // moves among the choices
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const index = /^[a-i]$/.test(key) ? key.charCodeAt(0) - 97 : /^[1-9]$/.test(key) ? +key - 1 : -1;
  const action = index >= 0 ? () => choose(index) : KEYS[key];
  if (!action) return;
  event.preventDefault();
  if (!event.repeat || key.startsWith("Arrow") || "+-=".includes(key)) action();
});
addEventListener("keyup", event => { if (event.key.toLowerCase() === "r") holding(false); });
addEventListener("blur", () => holding(false));
addEventListener("online", send);

showIntro();
