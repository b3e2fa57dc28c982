// Results on the canvas; every run is a step, kept with image, mask and sentence in this browser.
const KEPT = 24;
let steps = [], seen = null;
const result = () => run?.results[chosen];
const sentence = (name = tab()) => document.querySelector(`#${name}-prompt textarea`);

async function decoded(given) {
  const loaded = await Promise.all(given.results.map((made) => decode(made.after.url)));
  return { ...loaded, before: await decode(given.results[0].before.url).catch(() => null) };
}

async function showRun(given, number = 0) {
  const at = opening, loaded = await decoded(given);
  if (at !== opening) return false;
  [run, chosen, pictures, range.value] = [given, number, loaded, 50];
  showResult();
  changed();
  return true;
}

function showResult() {
  const made = result();
  if (!made) return;
  find(".tr-strength").hidden = !props.sweeps.includes(tab());
  find("[data-do=four]").hidden = tab() === "compare";
  find("[data-do=batch]").hidden = !["upscale", "colorize"].includes(tab());
  strength.value = Math.round(4 * made.beta);
  [find(".tr-download").href, find(".tr-download").download] = [made.after.url, made.after.orig_name];
  find(".tr-grid").hidden = !run.grid;
  if (run.grid) [find(".tr-grid").href, find(".tr-grid").download] = [run.grid.url, run.grid.orig_name];
  find(".tr-strip").style.gridTemplateColumns = run.columns ? `repeat(${run.columns}, minmax(0, 120px))` : "";
  find(".tr-strip").replaceChildren(...run.results.map((made, i) => thumbnail(made, made.caption, i === chosen, () => ((chosen = i), showResult(), changed()))));
  const rows = Object.entries(made.settings).flatMap(([name, value]) => {
    const [term, definition] = [document.createElement("dt"), document.createElement("dd")];
    [term.textContent, definition.textContent] = [name, value];
    return [term, definition];
  });
  find("dl").replaceChildren(...rows);
  find("pre").textContent = made.python;
  split();
}

function thumbnail(made, caption, pressed, act) {
  const tile = button("", act, pressed), picture = document.createElement("img"), text = document.createElement("span");
  [picture.src, picture.alt, text.textContent] = [made.after.url, "", caption];
  tile.append(picture, text);
  return tile;
}

function showSteps() {
  find(".tr-past").hidden = !steps.length;
  find(".tr-history").replaceChildren(...steps.map((one) => thumbnail(one.results[0], one.prompt || one.results[0].caption, one.results === run?.results, () => goTo(one))));
}

// A run has ended: its results take their place on the canvas, if its image is still there, and become a step.
async function finished(given) {
  const begun = underWay.find((one) => one.number === given.run);
  if (!begun) return;
  underWay = underWay.filter((one) => one !== begun);
  if (begun.image === image && begun.tab === tab() && !stroke) {
    remember();
    await showRun(given, given.sweep ? begun.wanted : 0);
    if (innerWidth <= 700) stage.scrollIntoView({ block: "center", behavior: "smooth" });
  }
  const left = begun.tab === tab() && files.find((one) => one !== entry && one.kept?.image === begun.image);
  if (left) Object.assign(left.kept, { run: given, chosen: 0, pictures: await decoded(given) }); // shown when it is open again
  const made = { ...given, tab: begun.tab, prompt: given.results[0].settings.prompt, time: Date.now(), input: begun };
  steps = [made, ...steps].slice(0, KEPT);
  showSteps();
  if (begun.tiles > 1) localStorage.textirPace = (performance.now() - begun.time) / 1000 / begun.tiles;
  await Promise.all(given.results.map(async (one) => (one.blob = await (await fetch(one.after.url)).blob())));
  begun.source ||= await (await fetch((await begun.opened).url)).blob();
  keep();
}
let underWay = [], started = 0; // what each run began with, whatever the visitor does meanwhile; and how many began

async function goTo(one) {
  remember();
  opening += 1;
  ({ image, source } = one.input);
  [own, entry] = [true, null];
  image ||= await decode(URL.createObjectURL(source));
  open(image);
  layers = frozen(one.input.layers);
  activate(0);
  opened = file = one.input.opened || resend();
  await toTab(one.tab);
  write(one.tab, one.prompt);
  await showRun(one);
  showSteps();
}

async function resend() {
  const number = opening, sent = await upload(new File([source], "image.png", { type: source.type }));
  if (number === opening) lookForFaces();
  return asFile(sent);
}

// Fills a tab's sentence as if it were typed; a tab that was never opened has none yet.
function write(name, text, tries = 20) {
  const field = sentence(name);
  if (!field) return tries && setTimeout(() => write(name, text, tries - 1), 100);
  field.value = text || "";
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

// The masks of a moment, which stay as they are, with the sentences of that moment.
const frozen = (given) => given.map((layer) => ({ ...layer, about: { ...layer.about } }));

// Runs with several results: "four" to choose from, or the "steps" of the slider from image to text.
const COUNTS = { four: 4, steps: 5 };
let ask = null, wanted = 0; // of the next run, and the step that it is to show
const strength = find(".tr-strength input");
strength.addEventListener("input", () => {
  if (run?.sweep) (chosen = +strength.value), showResult(), draw();
});
strength.addEventListener("change", () => {
  if (!run || run.sweep) return;
  wanted = +strength.value;
  request("steps");
});

function request(kind) {
  ask = kind;
  lastRun = -GUARD; // another control asks: this is not a second click on the button
  runButton()?.click();
  ask = null;
}

function link() {
  const address = new URL(window.location.href.split("?")[0]);
  const names = ["task", "model", "prompt", "edit", "beta", "skip_strength", "seed", "scale", "factor", "feather", "faces", "background"];
  for (const name of names) if (name in result().recipe) address.searchParams.set(name, result().recipe[name]); // also a 0
  if (result().regions) address.hash = encodeURIComponent(JSON.stringify(result().regions)); // a server never sees it
  return address.href;
}

async function copy(text, pressed) {
  const label = pressed.textContent;
  try {
    await navigator.clipboard.writeText(text);
    pressed.textContent = "Copied";
  } catch {
    pressed.textContent = "Select and copy below";
    find("pre").textContent = text;
  }
  setTimeout(() => (pressed.textContent = label), 1500);
}

async function use() {
  if (!run) return;
  const { blob, after } = result();
  const content = blob || (await (await fetch(after.url)).blob());
  await take(new File([content], after.orig_name, { type: "image/png" }), { kept: true });
}

async function copyImage() {
  const blob = result().blob || (await (await fetch(result().after.url)).blob());
  await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
  say("The result is on the clipboard.");
}

Object.assign(actions, {
  use,
  four: () => request("four"),
  batch: () => trigger("select", { settings: result().recipe }),
  copy: copyImage,
  link: (pressed) => copy(link(), pressed),
  python: (pressed) => copy(result().python, pressed),
  command: (pressed) => copy(result().command, pressed),
});

function hold(shown) {
  if (held === shown) return;
  held = shown;
  element.classList.toggle("ti-held", shown);
  draw();
}
const holder = find(".tr-hold");
holder.addEventListener("pointerdown", () => hold(true));
for (const name of ["pointerup", "pointerleave", "blur"]) holder.addEventListener(name, () => hold(false));
holder.addEventListener("keydown", (e) => [" ", "Enter"].includes(e.key) && (e.preventDefault(), hold(true)));
holder.addEventListener("keyup", () => hold(false));

// ---- kept in this browser

const database = new Promise((done) => {
  const request = indexedDB.open("textir", 1);
  request.onupgradeneeded = () => request.result.createObjectStore("kept");
  request.onsuccess = () => done(request.result);
  request.onerror = () => done(null); // a private window may have none
});
let keeping = null, ready = false, prompts = {};

function keep() {
  if (!ready) return;
  clearTimeout(keeping);
  keeping = setTimeout(save, 400);
}

const flat = (given, current = -1) => given.map((layer, i) => {
  const url = (i !== current && layer.url) || layer.mask.toDataURL(); // the current one changes
  if (i !== current) layer.url = url;
  return { url, about: { ...layer.about } };
});
const unpacked = (given) => Promise.all(given.map(async ({ url, about }) => ({ about, mask: copyOf(await decode(url)) })));

async function save() {
  const store = await database;
  if (!store) return;
  prompts = Object.fromEntries(props.tabs.map((name) => [name, sentence(name)?.value ?? prompts[name]]));
  const kept = { tab: tab(), prompts, source: own ? source : null, layers: image && own ? flat(layers, at) : [] };
  kept.steps = steps.filter((one) => one.results.every((r) => r.blob)).map((one) => ({ ...one, input: { source: one.input.source, layers: flat(one.input.layers) } }));
  store.transaction("kept", "readwrite").objectStore("kept").put(kept, "work");
}

async function kept() {
  const store = await database;
  if (!store) return null;
  return new Promise((done) => {
    const request = store.transaction("kept").objectStore("kept").get("work");
    request.onsuccess = () => done(request.result);
    request.onerror = () => done(null);
  });
}

async function comeBack() {
  const stored = new URLSearchParams(location.search).has("task") ? null : await kept();
  if (stored) {
    prompts = stored.prompts;
    steps = await Promise.all(stored.steps.map(async (one) => {
      for (const made of one.results) made.after = { ...made.after, url: URL.createObjectURL(made.blob) };
      return { ...one, input: { ...one.input, layers: await unpacked(one.input.layers) } };
    }));
    showSteps();
  }
  if (!stored?.source) return (ready = true);
  opening += 1;
  [source, own] = [stored.source, true];
  open(await decode(URL.createObjectURL(source)));
  past = [];
  opened = file = resend();
  await toTab(stored.tab);
  layers = await unpacked(stored.layers);
  activate(0);
  for (const [name, text] of Object.entries(prompts)) if (text !== undefined && sentence(name)) write(name, text);
  ready = true;
  changed();
}
