// The settings form: drawn from what the server describes, read when a photo is sent.

const byId = id => document.getElementById(id);
const NAMES = { fast: "Fast", diffusion: "Diffusion", paper: "Paper" };
const NOTES = {
  fast: "The enlarger alone: seconds on any computer. Tags are shown, but not used.",
  diffusion: "Lays invented texture over the result, led by the tags. Slower.",
  paper: "The settings of the paper. Slow.",
};
const ENGINES = {
  fine: "The large network: the finest detail.",
  quick: "A small network: a fraction of the time, less faithful.",
};
const PLACED = ["detail", "engine"];  // settings that stand beside the profile

// `look`: told of the tag to show in the picture, or null.
export function makeSettings(description, look) {
  const form = byId("settings");
  const changed = new Map();  // advanced settings that differ from the profile's
  let tags = [];  // { name, probability, own }
  let edited = false, worded = false;  // the tags were changed; words were written
  let looked = null;  // the tag shown in the picture

  const order = ["fast", "diffusion", "paper"], names = Object.keys(description.profiles);
  names.sort((a, b) => (order.indexOf(a) + 1 || 9) - (order.indexOf(b) + 1 || 9));
  for (const name of names) {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "profile", value: name, checked: name === description.default_profile });
    label.append(input, Object.assign(document.createElement("span"), { textContent: NAMES[name] ?? name }));
    byId("profiles").append(label);
  }
  const profile = () => form.elements.profile.value || description.default_profile;
  const dialled = () => description.dialled.includes(form.elements.engine.value || "fine");
  const diffuses = () => (description.profiles[profile()]?.num_inference_steps ?? 0) > 0;

  function drawAdvanced() {
    const box = byId("advanced"), values = description.profiles[profile()] ?? {};
    box.replaceChildren();
    byId("engine-row").hidden = !description.fields.engine;
    for (const [name, field] of Object.entries(description.fields)) {
      const value = changed.has(name) ? changed.get(name) : (values[name] ?? field.default);
      if (PLACED.includes(name)) { form.elements[name].value = value; continue; }
      const row = Object.assign(document.createElement("label"), { className: "row" });
      row.append(Object.assign(document.createElement("span"), { textContent: field.title }));
      let input;
      if (field.enum) {
        input = document.createElement("select");
        for (const choice of field.enum) input.append(new Option(choice, choice));
        input.value = value;
      } else if (field.type === "boolean") {
        input = Object.assign(document.createElement("input"), { type: "checkbox", checked: Boolean(value) });
      } else if (field.type === "integer" || field.type === "number") {
        input = Object.assign(document.createElement("input"), { type: "number", value, step: field.type === "integer" ? 1 : "any" });
        if (field.minimum != null) input.min = field.minimum;
        if (field.maximum != null) input.max = field.maximum;
      } else {  // text, and lists of numbers
        input = Object.assign(document.createElement("input"), { type: "text", value: Array.isArray(value) ? value.join(", ") : value ?? "" });
        row.classList.toggle("column", field.type === "string");
      }
      input.dataset.setting = name;
      row.append(input, Object.assign(document.createElement("small"), { className: "soft", textContent: field.description }));
      box.append(row);
    }
  }
  function drawNotes() {
    byId("profile-note").textContent = NOTES[profile()] ?? "";
    byId("engine-note").textContent = ENGINES[form.elements.engine.value] ?? "";
    byId("detail-row").hidden = !dialled();
    byId("to-row").hidden = form.elements.size.value !== "to";
    byId("tags-note").textContent = (edited || worded) && !diffuses() ? "Tags and words guide the diffusion; choose that profile to use them." : "";
  }
  function lookAt(tag) { looked = tag; look(tag); drawTags(); }
  function nameOf(tag) {  // a button where it is known where the tag is seen
    if (!tag.map) return Object.assign(document.createElement("span"), { textContent: tag.name });
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: tag.name, title: "Where is it seen?", className: "name" });
    button.setAttribute("aria-pressed", tag === looked);
    button.addEventListener("click", () => { lookAt(tag === looked ? null : tag); byId("tags").querySelectorAll("li")[tags.indexOf(tag)].firstChild.focus({ preventScroll: true }); });
    return button;
  }
  function drawTags() {
    byId("tags").replaceChildren(...tags.map(tag => {
      const item = document.createElement("li");
      item.className = tag.own ? "own" : "";
      item.append(nameOf(tag));
      if (tag.probability != null) item.append(Object.assign(document.createElement("small"), { textContent: `${Math.round(100 * tag.probability)} %` }));
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: "×" });
      button.setAttribute("aria-label", `Remove the tag ${tag.name}`);
      button.addEventListener("click", () => { tags = tags.filter(other => other !== tag); edited = true; if (tag === looked) lookAt(null); draw(); byId("new-tag").focus(); });
      item.append(button);
      return item;
    }));
  }
  function draw() { drawTags(); drawNotes(); }

  form.addEventListener("change", event => {
    const name = event.target.dataset.setting;
    if (name) {
      const field = description.fields[name];
      const raw = event.target.type === "checkbox" ? event.target.checked : event.target.value;
      const read = { integer: Number, number: Number, array: text => text.split(",").map(Number) }[field.type] ?? (other => other);
      changed.set(name, read(raw));
    }
    if (event.target.name === "profile") { changed.clear(); drawAdvanced(); }
    if (["prompt", "regions"].includes(event.target.name)) worded = worded || event.target.value.trim() !== "";
    drawNotes();
  });
  byId("usual").addEventListener("click", () => { changed.clear(); drawAdvanced(); drawNotes(); });
  byId("new-tag").addEventListener("keydown", event => {
    if (event.key !== "Enter" && event.key !== ",") return;
    event.preventDefault();
    const name = event.target.value.trim().replace(/,/g, "");
    if (name && !tags.some(tag => tag.name === name)) { tags = [...tags, { name, probability: null, own: true }]; edited = true; }
    event.target.value = "";
    draw();
  });
  drawAdvanced();
  draw();

  return {
    // what the server gets; `again`: of a photo whose tags were seen and perhaps edited
    read(again) {
      const size = form.elements.size.value;
      const wanted = { profile: profile(), prompt: form.elements.prompt.value.trim(), seed: Number(form.elements.seed.value) || 0, ...Object.fromEntries(changed) };
      if (size === "to") wanted.to = Number(form.elements.to.value); else wanted.scale = Number(size);
      if (!dialled()) delete wanted.detail;
      const regions = form.elements.regions.value.split("\n").map(line => line.trim()).filter(Boolean);
      if (regions.length) wanted.regions = regions;
      if (again && edited) wanted.tags = tags.map(tag => tag.name);
      return wanted;
    },
    showTags(found) { if (!edited) { tags = found.map(tag => ({ ...tag, own: false })); } lookAt(null); draw(); },
    forget() { tags = []; edited = worded = false; form.elements.prompt.value = form.elements.regions.value = ""; lookAt(null); draw(); },
    lookAway() { lookAt(null); },
  };
}
