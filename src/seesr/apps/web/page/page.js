// The page: photos dropped, restored in turn, shown before and after, kept for the visit.
import { cancel, describeSettings, picture, remove, result, submit, watch, zip } from "./api.js";
import { makeMap } from "./map.js";
import { makeSettings } from "./settings.js";
import { makeSlider } from "./slider.js";

const byId = id => document.getElementById(id);
const STAGES = { tags: "Looking at the photo", enlarge: "Enlarging", encode: "Preparing", denoise: "Painting detail", decode: "Finishing", write: "Writing" };
const slider = makeSlider(byId("slider"), byId("handle"), byId("after"));
const map = makeMap(byId("map"), slider);
const photos = [];  // { file, url, job, status, state: "sending" | "waiting" | "running" | "done" | "failed" | "cancelled", item, tags }
let current = null, settings = null;

function duration(seconds) {
  if (seconds < 1.500) return "about a second";
  if (seconds < 90) return `about ${Math.round(seconds)} seconds`;
  return seconds < 5400 ? `about ${Math.round(seconds / 60)} minutes` : `about ${Math.round(seconds / 3600)} hours`;
}

// ------------------------------------------------------------------------------------------------------ photos

function add(files) {
  const accepted = [...files].filter(file => file.size > 0);
  if (!accepted.length) return;
  settings.forget();
  for (const file of accepted) {
    const photo = { file, url: URL.createObjectURL(file), job: null, status: null, state: "sending", error: "" };
    photos.push(photo);
    drawItem(photo);
    start(photo, false);
  }
  show(photos[photos.length - accepted.length]);
}

async function start(photo, again) {
  const before = photo.job;
  if (photo === current) settings.lookAway();
  Object.assign(photo, { state: "sending", status: null, error: "" });
  draw(photo);
  try {
    const wanted = settings.read(again);
    const status = await submitPatiently(photo, wanted);
    if (before) remove(before);
    photo.job = status.id;
    const end = await watch(status.id, found => { Object.assign(photo, { status: found, state: found.state, error: found.error }); draw(photo); });
    if (end.state === "done" && photo === current) settings.showTags(end.result.tags);
  } catch (error) {
    Object.assign(photo, { state: "failed", error: error.message });
  }
  draw(photo);
}

async function submitPatiently(photo, wanted) {  // a busy server is asked again, as it says
  for (let tries = 0; ; tries++) {
    try { return await submit(photo.file, wanted); } catch (error) {
      if (error.kind !== "busy" || tries >= 20) throw error;
      Object.assign(photo, { error: `${error.message} Trying again …` });
      draw(photo);
      await new Promise(resolve => setTimeout(resolve, 1000 * Math.min(30, error.retryAfter || 5)));
    }
  }
}

// ------------------------------------------------------------------------------------------------------ drawing

function drawItem(photo) {
  const item = document.createElement("li"), button = Object.assign(document.createElement("button"), { type: "button" });
  const image = Object.assign(document.createElement("img"), { src: photo.url, alt: "" });
  image.onerror = () => image.remove();  // a format that browsers do not show
  button.append(image, Object.assign(document.createElement("span"), { className: "state" }));
  button.addEventListener("click", () => show(photo));
  item.append(button);
  photo.item = button;
  byId("history").append(item);
}

function show(photo) {
  current = photo;
  byId("stage").classList.add("small");
  byId("viewer").hidden = false;
  byId("before").removeAttribute("src");
  byId("after").src = photo.url;
  slider.reset();
  settings.lookAway();
  if (photo.state === "done") settings.showTags(photo.status.result.tags);
  for (const other of photos) draw(other);
}

function draw(photo) {
  const words = { sending: "sending", waiting: "waiting", running: "…", done: "", failed: "failed", cancelled: "cancelled" };
  const state = photo.item.querySelector(".state");
  state.textContent = words[photo.state];
  state.hidden = !words[photo.state];
  photo.item.setAttribute("aria-label", `${photo.file.name}, ${photo.state}`);
  if (photo === current) photo.item.setAttribute("aria-current", "true"); else photo.item.removeAttribute("aria-current");
  const done = photos.filter(other => other.state === "done");
  byId("all").hidden = done.length < 2;
  if (done.length > 1) byId("all").href = zip(done.map(other => other.job), byId("format").value);
  if (photo === current) drawCurrent();
}

function drawCurrent() {
  const { state, status, file, job } = current;
  const busy = ["sending", "waiting", "running"].includes(state), done = state === "done";
  byId("slider").classList.toggle("busy", !done);
  byId("veil").hidden = !busy;
  byId("restore").disabled = busy;
  byId("download").hidden = !done;
  byId("zoom").hidden = !done;
  byId("problem").textContent = ["failed"].includes(state) ? `${file.name}: ${current.error || "it could not be restored"}` : "";
  if (busy) {
    const doing = state === "sending" ? "Sending" : state === "waiting" ? (status.position > 1 ? `Waiting: ${status.position - 1} before this one` : "Next in line") : (STAGES[status.stage] ?? "Starting");
    if (byId("doing").textContent !== doing) byId("doing").textContent = doing;
    const bar = byId("bar");
    if (state === "running" && status.total > 1) bar.value = status.done / status.total; else bar.removeAttribute("value");
    byId("left").textContent = status?.left ? `${duration(status.left)} left` : current.error;
    byId("cancel").disabled = !job || state === "sending";
  }
  if (done) {
    const { size, photo_size: from } = status.result;
    const shown = picture(job, "after");
    if (!byId("after").src.endsWith(shown)) {
      byId("after").src = shown;
      byId("before").src = picture(job, "before");
    }
    byId("caption").textContent = `${file.name} · ${from[0]} × ${from[1]} to ${size[0]} × ${size[1]} · ${status.seconds.toFixed(1)} s`;
    byId("save").href = result(job, byId("format").value);
  } else byId("caption").textContent = file.name;
}

// ------------------------------------------------------------------------------------------------------ what people do

byId("files").addEventListener("change", event => { add(event.target.files); event.target.value = ""; });
byId("settings").addEventListener("submit", event => { event.preventDefault(); if (current && !byId("restore").disabled) start(current, true); });
byId("cancel").addEventListener("click", () => current?.job && cancel(current.job).catch(() => null));
byId("format").addEventListener("change", () => photos.forEach(draw));
byId("zoom").addEventListener("click", () => {
  settings.lookAway();
  const real = byId("slider").classList.toggle("real");
  byId("zoom").setAttribute("aria-pressed", real);
  slider.place();
});
byId("theme").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
  const next = document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
  try { localStorage.setItem("theme", next); } catch { /* private window */ }
});
try { const kept = localStorage.getItem("theme"); if (kept) document.documentElement.dataset.theme = kept; } catch { /* private window */ }

for (const name of ["cat", "astronaut", "coffee"]) {
  const button = Object.assign(document.createElement("button"), { type: "button" });
  button.setAttribute("aria-label", `Try the example: ${name}`);
  button.append(Object.assign(document.createElement("img"), { src: `/page/${name}.jpg`, alt: "" }));
  button.addEventListener("click", async () => {
    const content = await (await fetch(`/page/${name}.jpg`)).blob();
    add([new File([content], `${name}.jpg`, { type: "image/jpeg" })]);
  });
  byId("examples").append(button);
}

let depth = 0;
const hasFiles = event => [...(event.dataTransfer?.types ?? [])].includes("Files");
addEventListener("dragenter", event => { if (hasFiles(event)) { depth++; byId("over").hidden = false; } });
addEventListener("dragleave", event => { if (hasFiles(event) && --depth <= 0) byId("over").hidden = true; });
addEventListener("dragover", event => { if (hasFiles(event)) event.preventDefault(); });
addEventListener("drop", event => { if (hasFiles(event)) { event.preventDefault(); depth = 0; byId("over").hidden = true; add(event.dataTransfer.files); } });
addEventListener("paste", event => { if (event.clipboardData?.files.length) add(event.clipboardData.files); });
addEventListener("pagehide", () => photos.forEach(photo => photo.job && navigator.sendBeacon?.(`/v1/jobs/${photo.job}/cancel`)));

try { settings = makeSettings(await describeSettings(), map.show); document.documentElement.dataset.ready = "true"; } catch (error) { byId("problem").textContent = error.message; }
if (!["localhost", "127.0.0.1", "[::1]"].includes(location.hostname)) byId("where").textContent = "Photos are deleted after a while.";
