// The one canvas: an image, a mask over it, and the result of a run. The other scripts share its scope.
const MAX_BYTES = 20e6, MAX_PIXELS = 24e6, NETWORK = 256; // pixels of the networks' side
const find = (selector) => element.querySelector(selector);
const all = (selector) => [...element.querySelectorAll(selector)];
const stage = find(".ti-stage"), canvas = find("canvas"), info = find(".ti-info"), size = find(".ti-size input");
const range = find(".tr-range"), context = canvas.getContext("2d");
const painting = { ...props.paints };
let image = null, source = null, own = false; // what is shown, the visitor's file of it, and whether it is theirs
let run = null, chosen = 0, pictures = {}; // of the result: all, which of them, and its decoded images
let paints = false, tool = "brush", view = { scale: 1, x: 0, y: 0 }, held = false, spaced = false;
let pointer = null, keyed = false, stroke = null, rectangle = null, tap = null; // tap: what one finger chose
let faces = null, facesShown = false, chosenFaces = new Set(); // boxes with parts, and numbers from 1
let opened = Promise.resolve(null), opening = 0, shown = 0; // the last image's file on the server; numbers of the last and the shown one
let file = opened; // the shown image's file on the server: another one may be opening
const touches = new Map();

const tab = () => document.querySelector("#tabs [role=tab][aria-selected=true]")?.textContent.trim().toLowerCase();
const state = () => ({ image, source, own, run, chosen, pictures, faces, opened: file, entry });

function restore(back) {
  const same = image === back.image;
  ({ image, source, own, run, chosen, pictures, faces, opened, entry } = back);
  file = opened;
  [chosenFaces, facesShown] = [new Set(), false];
  if (!same) (shown = opening += 1), (reduced = ratio < 1 ? copyOf(image, mask.width, mask.height) : null), fit();
  showResult();
  changed();
}

function say(text, alert = false) {
  info.textContent = text;
  info.classList.toggle("ti-alert", alert);
}

function changed() {
  if (image) {
    const masked = painting[tab()] ? measure(whole()) : 0;
    const parts = [`${image.width} × ${image.height}${larger()}`];
    if (faces && props.faces.includes(tab())) parts.push(faces.length ? `${faces.length} face${faces.length > 1 ? "s" : ""} found` : "No face found: works best on portraits");
    if (painting[tab()]) parts.push(`${masked > 0 && masked < 0.01 ? "under 1" : Math.round(masked * 100)} % masked`);
    if (chosenFaces.size) parts.push(`face ${[...chosenFaces].sort().join(" and ")}`);
    say(parts.join(", "));
    advise(masked);
  }
  find("[data-do=undo]").disabled = !past.length;
  find("[data-do=redo]").disabled = !undone.length;
  find(".ti-faces").setAttribute("aria-pressed", facesShown);
  for (const part of [".tr-bar", ".ti-split"]) find(part).hidden = !run;
  const several = Boolean(run) && run.results.length > 1 && !run.sweep;
  find(".tr-strip").hidden = !several;
  element.classList.toggle("ti-has-strip", several && !run.columns);
  layOutFaces();
  showRegions();
  markFile();
  draw();
  keep();
}

// What will disappoint, and what helps.
function advise(masked) {
  const found = props.faces.includes(tab()) && !run ? faces || [] : [];
  const missed = masked > 0 && found.length && found.every((face) => !measure(whole(), face.box));
  const soft = masked * image.width * image.height > (4 * NETWORK) ** 2;
  const far = found.length && Math.min(image.width, image.height) > NETWORK && Math.max(...found.map(faceSide)) < Math.max(image.width, image.height) / 4;
  const advice = missed ? "The mask covers no face: works best on portraits." : soft ? `The masked area is far larger than the network's ${NETWORK} pixels.` : far ? "The face is a small part of the image." : "";
  find(".ti-advice").hidden = !advice;
  find(".ti-advice span").textContent = advice;
  find("[data-do=crop]").hidden = !found.length;
}

const faceSide = ({ box: [left, top, right, bottom] }) => Math.max(right - left, bottom - top);

// The largest face with what is around it becomes the image.
async function crop() {
  const face = faces.reduce((one, other) => (faceSide(other) > faceSide(one) ? other : one)), [left, top, right, bottom] = face.box;
  const side = Math.round(Math.min(2.2 * faceSide(face), image.width, image.height));
  const corner = [[left + right, image.width], [top + bottom, image.height]].map(([sum, most]) => Math.round(Math.min(Math.max(0, (sum - side) / 2), most - side)));
  const cut = sheet(side, side);
  cut.getContext("2d").drawImage(image, ...corner, side, side, 0, 0, side, side);
  await take(new File([await new Promise((done) => cut.toBlob(done))], "face.png", { type: "image/png" }), { kept: true });
}

// ---- images

function decode(url) {
  return new Promise((done, failed) => {
    const picture = new Image();
    picture.crossOrigin = "anonymous";
    picture.onload = () => done(picture);
    picture.onerror = () => failed(new Error("This file is not an image we can read."));
    picture.src = url;
  });
}

function open(picture, boxes = []) {
  [image, shown, file] = [picture, opening, opened];
  [run, pictures, faces, facesShown, chosenFaces] = [null, {}, null, false, new Set()];
  resetMask();
  reduced = ratio < 1 ? copyOf(image, mask.width, mask.height) : null;
  const longest = Math.max(image.width, image.height);
  size.max = Math.max(20, Math.round(longest / 4));
  size.value = Math.max(4, Math.round(longest / 12));
  element.classList.add("ti-filled");
  boxes.forEach((box) => KINDS.box({ box }));
  fit();
  showResult();
  changed();
}

// A visitor's image is shown at once, and used once it has arrived.
function take(picked, settings = {}) {
  if (!picked) return opened;
  if (picked.size > MAX_BYTES) return say("The file has more than 20 MB. Make it smaller first.", true);
  say("Opening…");
  return (opened = taken(picked, ++opening, settings));
}

async function taken(picked, number, { kept = false, one = null } = {}) {
  const url = URL.createObjectURL(picked);
  try {
    let picture = await decode(url).catch(() => null), sent = null;
    if (!picture) {
      sent = await upload(picked);
      const read = await server.look(sent.path, true); // the server reads more kinds of files
      if (read.error) throw new Error(read.error);
      sent = { path: read.path, url: `gradio_api/file=${read.path}` };
      [picked, picture] = [await (await fetch(sent.url)).blob(), await decode(sent.url)];
    }
    if (number !== opening) return;
    if (picture.width * picture.height > MAX_PIXELS)
      throw new Error(`The image has ${Math.round((picture.width * picture.height) / 1e6)} megapixels; at most 24 can be used.`);
    if (image) remember();
    if (!kept && (!one || one === files[0])) trigger("upload"); // the example's sentence leaves
    [source, own, entry] = [picked, true, kept ? entry : one];
    open(picture);
    fitRegions();
    sent ||= await upload(picked);
    if (number === opening) lookForFaces(); // which waits for what this returns
    return asFile(sent, picked.name);
  } catch (error) {
    if (number === opening) say(error.message || "The upload failed. Choose the image again.", true);
  } finally {
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }
}

const asFile = ({ path, url }, name) => ({ path, url, orig_name: name || "image.png", meta: { _type: "gradio.FileData" } });

async function example(given, number = ++opening) {
  const picture = await decode(given.image.url);
  if (number !== opening) return null;
  [source, own, entry] = [null, false, null];
  open(picture, given.boxes);
  await fitRegions(given.results?.[0].regions || []);
  if (given.results) await showRun(given);
  return given.image;
}

async function lookForFaces() {
  if (!image || faces || !props.faces.includes(tab())) return;
  const at = image, sent = await file, found = sent && at === image && (await server.look(sent.path, false));
  if (!found || at !== image) return;
  if (found.error) return say(found.error, true);
  faces = found.faces;
  const alert = info.classList.contains("ti-alert") && info.textContent; // of what the visitor did meanwhile: it stays
  changed();
  if (alert) say(alert, true);
}

// ---- tools

const actions = {
  undo: () => step(past, undone),
  redo: () => step(undone, past),
  clear: () => apply({ kind: "clear" }),
  invert: () => apply({ kind: "invert" }),
  grow: () => apply({ kind: "grow" }),
  shrink: () => apply({ kind: "shrink" }),
  load: () => find(".ti-mask-file").click(),
  save: saveMasks,
  region: addRegion,
  crop,
  in: () => zoom(1.25),
  out: () => zoom(0.8),
  fit,
  full: () => (document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen()),
};

function saveMasks() {
  if (!image) return;
  const named = [["mask", whole()], ...regions().map((layer, i) => [`region-${i + 1}`, [layer]])];
  for (const [name, parts] of named) if (parts.length) download(maskUrl(parts, image.width, image.height), `${name}.png`);
}

function download(url, name) {
  const link = document.createElement("a");
  [link.href, link.download] = [url, name];
  link.click();
}

function choose(name) {
  tool = name;
  all("[data-tool]").forEach((b) => b.setAttribute("aria-pressed", b.dataset.tool === name));
  draw();
}

async function showFaces() {
  if (!image || !props.faces.includes(tab())) return;
  facesShown = !facesShown;
  if (!faces) say("Looking for faces…"), await lookForFaces();
  if (!faces?.length) facesShown = false;
  changed();
}

function resize(factor) {
  size.value = Math.max(1, Math.round(size.value * factor + (factor > 1 ? 0.5 : -0.5)));
  draw();
}

function begin(point) {
  if (tool === "select") return apply({ kind: "area", area: selectArea(...point) });
  if (tool === "box") return (rectangle = [...point, ...point]);
  remember();
  if (run) (run = null), changed();
  stroke = { erase: tool === "eraser", size: +size.value, points: [point] };
  dab(stroke, 0);
  draw();
}

function extend(point) {
  if (rectangle) rectangle.splice(2, 2, ...point);
  else stroke.points.push(point), dab(stroke, stroke.points.length - 1);
  draw();
}

function end() {
  if (rectangle) {
    const [x, y, u, v] = rectangle;
    rectangle = null;
    apply({ kind: "box", box: [Math.min(x, u), Math.min(y, v), Math.max(x, u), Math.max(y, v)] });
  } else if (stroke) (stroke = null), changed(), follow();
}

// Runs at the end of a stroke, if wished: at once, or once the run under way has ended.
async function follow() {
  if (following || !find(".ti-eager").checked) return;
  following = true;
  while (stroke || !runButton() || performance.now() - lastRun < GUARD) await new Promise((done) => setTimeout(done, 100));
  following = false;
  if (tab() !== "compare" && measure(whole())) request(null);
}
let following = false;

function drop() {
  if (stroke) (stroke = null), step(past, []), changed();
  rectangle = tap = null;
}

canvas.addEventListener("pointerdown", (e) => {
  if (!image) return find(".ti-file").click();
  if (e.pointerType === "touch" && !paints && !touches.size) touches.set(e.pointerId, place(e)); // it scrolls the page
  else canvas.setPointerCapture(e.pointerId), touches.set(e.pointerId, place(e));
  if (touches.size === 2) drop();
  const free = touches.size === 1 && paints && e.button === 0 && !e.shiftKey && !spaced;
  const point = inImage(place(e));
  const within = point[0] >= 0 && point[1] >= 0 && point[0] < image.width && point[1] < image.height;
  if (!free) return;
  if (tool !== "select") begin(point);
  else if (within) tap = point;
});

canvas.addEventListener("pointermove", (e) => {
  const now = place(e), before = touches.get(e.pointerId);
  [pointer, keyed] = [image && inImage(now), false];
  if (before && !stroke && !rectangle && image) {
    const others = [...touches.entries()].filter(([id]) => id !== e.pointerId);
    if (others.length === 1) {
      const [x, y] = others[0][1];
      const spanned = (p) => Math.hypot(p[0] - x, p[1] - y) || 1;
      zoom(spanned(now) / spanned(before), (x + before[0]) / 2, (y + before[1]) / 2); // about the middle, which moves
      view.x += (now[0] - before[0]) / 2;
      view.y += (now[1] - before[1]) / 2;
    } else if (!others.length && (tool !== "select" || spaced || !paints)) {
      view.x += now[0] - before[0];
      view.y += now[1] - before[1];
    }
  }
  if (before) touches.set(e.pointerId, now);
  if (stroke || rectangle) extend(pointer);
  else draw();
});
canvas.addEventListener("pointerup", (e) => {
  touches.delete(e.pointerId);
  if (tap) begin(tap);
  tap = null;
  end();
});
canvas.addEventListener("pointercancel", (e) => (touches.delete(e.pointerId), (tap = null), end()));
canvas.addEventListener("pointerleave", () => stroke || ((pointer = null), draw()));
function wheel(e) {
  if (!image || !(e.ctrlKey || e.metaKey || e.altKey || document.activeElement === canvas)) return;
  e.preventDefault();
  e.altKey ? resize(e.deltaY < 0 ? 1.15 : 0.87) : zoom(Math.exp(-e.deltaY / 400), ...place(e));
}
canvas.addEventListener("wheel", wheel, { passive: false });
range.addEventListener("input", split);
all("[data-do]").forEach((b) => b.addEventListener("click", () => actions[b.dataset.do](b)));
all("[data-tool]").forEach((b) => b.addEventListener("click", () => choose(b.dataset.tool)));
find(".ti-faces").addEventListener("click", showFaces);
find(".ti-file").addEventListener("change", (e) => (takeAll(e.target.files), (e.target.value = "")));
find(".ti-mask-file").addEventListener("change", (e) => (takeMask(e.target.files[0]), (e.target.value = "")));
