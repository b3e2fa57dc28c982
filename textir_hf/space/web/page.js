// What holds for the whole page: tabs, dropped files, keys, the run's button, and whether the server is there.
const writing = (target) => target.closest?.("input:not([type=range]), textarea, select, [contenteditable=true]");
const BEAT = 3000, GUARD = 600, ASK_ABOVE = 60; // milliseconds, and seconds
const openings = props.value?.openings || {};
let name = null, app = null, lastRun = 0, asked = null; // the last: of the run whose button was pressed

async function toTab(wanted) {
  if (wanted === tab()) return;
  [...document.querySelectorAll("#tabs [role=tab]")].find((b) => b.textContent.trim().toLowerCase() === wanted)?.click();
  await new Promise((done) => setTimeout(done, 50)); // until the page has followed
}

function followTab() {
  if (!tab() || tab() === name) return;
  name = tab();
  element.classList.toggle("ti-off", !props.tabs.includes(name));
  if (!props.tabs.includes(name)) return;
  setPaints();
  element.classList.toggle("ti-low", name === "compare"); // more is asked below
  find(".ti-faces").hidden = !props.faces.includes(name);
  if (!own && openings[name]) {
    opened = example(openings[name]);
    [past, undone] = [[], []];
  } else {
    run = null;
    showResult();
    lookForFaces();
  }
  if (prompts[name] !== undefined && own) write(name, prompts[name]);
  changed();
}

function setPaints() {
  if (at && !regional()) activate(0);
  paints = Boolean(painting[tab()]) || at > 0;
  element.classList.toggle("ti-paints", paints);
}

// ---- how long an upscale takes

const scale = () => +document.querySelector("#upscale-scale input[type=number]")?.value || 4;
const tilesOf = (length) => Math.max(1, Math.ceil((length - 64) / 192)); // of 256 pixels, as the pipeline lays them
const tiles = () => (tab() === "upscale" && image ? tilesOf(image.width * scale()) * tilesOf(image.height * scale()) : 0);
const runs = (kind = ask) => (1 + regions().length) * (COUNTS[kind] || 1);
const estimate = () => tiles() * runs() * (+localStorage.textirPace || 0.3); // seconds

function inWords(seconds) {
  return seconds < 90 ? `${Math.max(1, Math.round(seconds))} seconds` : `${Math.round(seconds / 60)} minutes`;
}

function larger() {
  if (tab() !== "upscale" || !scale()) return "";
  const long = estimate() > 10 ? `, about ${inWords(estimate())}` : "";
  return ` → ${image.width * scale()} × ${image.height * scale()}${long}`;
}

// ---- the run's button, which Cancel replaces

window.addEventListener("click", (e) => {
  const pressed = e.target.closest?.(".ti-run, .ti-cancel");
  if (!pressed) return;
  const early = performance.now() - lastRun < GUARD; // the second click of a double one
  const refused = !early && pressed.matches(".ti-run") && estimate() > ASK_ABOVE && !confirm(`This takes about ${inWords(estimate())}. Run it?`);
  if (early || refused) return e.stopImmediatePropagation(), e.preventDefault();
  if (pressed.matches(".ti-run")) startRun();
}, true);

function startRun() {
  lastRun = performance.now();
  asked = ask;
}

// What the canvas holds, for a run that begins now.
function packRun() {
  const packed = (parts) => (parts.length ? maskUrl(parts) : null); // also an empty one, which the server refuses
  const own = regions().map((layer) => ({ mask: packed([layer]), prompt: layer.about.prompt, beta: layer.about.beta ? +layer.about.beta : null }));
  const given = { run: (started += 1), mask: packed(whole()), faces: [...chosenFaces].sort(), regions: own, ask: asked };
  const input = { image, source, opened: file, layers: frozen(layers), tab: tab(), tiles: tiles() * runs(asked), wanted, number: started, time: lastRun };
  underWay = [...underWay.filter((one) => one.tab !== tab()), input]; // a tab has one run, whose last one was canceled
  return given;
}

function showBusy(text) {
  element.classList.toggle("ti-working", Boolean(text));
  find(".ti-busy").hidden = !text;
  if (find(".ti-busy").textContent !== text) find(".ti-busy").textContent = text;
}

const runButton = () => [...document.querySelectorAll(".ti-run")].find((b) => b.offsetParent !== null && !b.disabled);

// ---- files from anywhere

document.addEventListener("dragover", (e) => e.preventDefault());
document.addEventListener("drop", (e) => {
  if (e.defaultPrevented || e.target.closest?.("[data-testid=file-upload], .file-preview, #batch-files, #settings-file")) return;
  e.preventDefault();
  takeAll(e.dataTransfer.files);
});
document.addEventListener("paste", (e) => {
  const picked = [...(e.clipboardData?.files || [])].find((f) => f.type.startsWith("image/"));
  if (picked && !element.classList.contains("ti-off")) take(picked);
});

// ---- keys: letters only while the editor has the focus

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const LETTERS = {
  b: () => choose("brush"), e: () => choose("eraser"), r: () => choose("box"), s: () => choose("select"),
  f: showFaces, u: use, a: addRegion, m: actions.full, c: () => run && hold(true), "[": () => resize(0.8), "]": () => resize(1.25),
  pagedown: () => stepFile(1), pageup: () => stepFile(-1), "+": () => zoom(1.25), "-": () => zoom(0.8), 0: fit,
};
const COMMANDS = {
  z: (e) => (e.shiftKey ? actions.redo() : actions.undo()), y: actions.redo,
  s: () => run && find(".tr-download").click(), c: () => run && !String(getSelection()) && copyImage(),
};

function onSpace(e) {
  if (!paints || (pointer && !keyed)) return (spaced = true); // with the mouse over the image, it moves it
  pointer = pointer || [image.width / 2, image.height / 2];
  if (!e.repeat) stroke || rectangle ? end() : begin(pointer);
}

element.addEventListener("keydown", (e) => {
  if (!image || writing(e.target)) return;
  const key = e.key.toLowerCase(), onCanvas = e.target === canvas;
  if (e.ctrlKey || e.metaKey) {
    if (!COMMANDS[key]) return;
    COMMANDS[key](e);
  } else if (e.altKey) return;
  else if (onCanvas && e.key in ARROWS) {
    const far = Math.max(1, size.value / 4);
    pointer = (pointer || [image.width / 2, image.height / 2]).map((v, i) => v + far * ARROWS[e.key][i]);
    keyed = true;
    stroke || rectangle ? extend(pointer) : draw();
  } else if (onCanvas && key === " ") onSpace(e);
  else if (facesShown && key >= "1" && key <= "9") chooseFace(+key);
  else if (LETTERS[key]) LETTERS[key]();
  else return;
  e.preventDefault();
});
element.addEventListener("keyup", (e) => {
  if (e.key === " ") (spaced = false), e.target === canvas && end();
  if (e.key.toLowerCase() === "c") hold(false);
});
canvas.addEventListener("blur", () => (end(), hold(false), (spaced = false), (pointer = null), draw()));

document.addEventListener("keydown", (e) => {
  const asked = e.key === "Enter" && (e.ctrlKey || e.metaKey || (!e.shiftKey && !e.isComposing && e.target.closest?.("[id$=-prompt], .ti-regions input")));
  if (!asked || !runButton()) return;
  e.preventDefault();
  e.stopPropagation();
  runButton().click();
}, true);
document.addEventListener("input", (e) => {
  if (e.target.closest("#upscale-scale")) changed();
  else if (e.target.closest("[id$=-prompt]")) keep();
});

// ---- whether the server is there

async function beat() {
  let answer = null;
  try {
    answer = (await (await fetch("gradio_api/app_id", { signal: AbortSignal.timeout(20_000) })).json()).app_id;
  } catch {}
  find("#offline").hidden = answer !== null;
  if (answer !== null && app !== null && answer !== app) return await save(), location.reload(); // it has started again
  app = answer ?? app;
  setTimeout(beat, BEAT);
}

// ---- with Gradio

watch("value", () => {
  const given = props.value;
  if (!given?.number || given.number === seen) return;
  seen = given.number;
  if (given.image) remember(), (opened = example(given));
  else if (given.regions) (awaited = given.regions), fitRegions();
  else finished(given);
});
window.textir = {
  value: async () => {
    if (shown !== opening) await opened; // the image that was chosen last is not on the canvas yet
    if (!image) return null;
    const sending = file, given = packRun();
    return { image: await sending, ...given };
  },
  paint: (name, wanted) => {
    painting[name] = wanted;
    if (tab() !== name) return;
    setPaints();
    changed();
  },
  busy: showBusy,
};
const changes = { subtree: true, childList: true, attributes: true, attributeFilter: ["aria-selected"] };
new MutationObserver(followTab).observe(document.querySelector("#tabs") || document.body, changes);
new ResizeObserver(() => (fit(), layOutFaces())).observe(stage);
try {
  if (location.hash) awaited = JSON.parse(decodeURIComponent(location.hash.slice(1)));
} catch {} // of another kind
beat();
comeBack().then(followTab);
