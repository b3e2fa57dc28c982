// The image of a tab, with a mask painted over it. `mask.js` and `view.js` stand before it, in the same scope.
const MAX_BYTES = 20e6;
let paints = props.paints;
const find = (selector) => element.querySelector(selector);
const all = (selector) => [...element.querySelectorAll(selector)];
const stage = find(".ti-stage"), canvas = find("canvas"), info = find(".ti-info"), size = find("input[type=range]");
const context = canvas.getContext("2d");
let image = null, file = null, tool = "brush", view = { scale: 1, x: 0, y: 0 };
let pointer = null, stroke = null, tap = null; // tap: where one finger has chosen something, unless a second one comes
const touches = new Map();
let opened = Promise.resolve(); // once the image that was given last is there
let faces = null, chosen = new Set(); // boxes, and numbers from 1

function say(text, alert = false) {
  info.textContent = text;
  info.classList.toggle("ti-alert", alert);
}

function changed() {
  const painted = operations.length ? measure() : 0;
  if (image) {
    const percent = painted > 0 && painted < 0.01 ? "under 1" : Math.round(painted * 100);
    const numbers = chosen.size ? `, face ${[...chosen].sort().join(" and ")}` : "";
    say(`${image.width} × ${image.height}` + (paints ? `, ${percent} % masked` : "") + numbers);
  }
  find("[data-do=undo]").disabled = !operations.length;
  find("[data-do=redo]").disabled = !undone.length;
  draw();
}

// ---- images from files

function decode(url) {
  return new Promise((done, failed) => {
    const picture = new Image();
    picture.crossOrigin = "anonymous";
    picture.onload = () => done(picture);
    picture.onerror = () => failed(new Error("This browser cannot show the file. Convert it to PNG or JPEG."));
    picture.src = url;
  });
}

const show = (...given) => (opened = open(...given));

async function open(given, boxes = []) {
  try {
    image = await decode(given.url);
  } catch (error) {
    return say(error.message, true);
  }
  file = { path: given.path, url: given.url, orig_name: given.orig_name, meta: { _type: "gradio.FileData" } };
  [mask.width, mask.height] = [image.width, image.height];
  [operations, undone] = [[], []];
  [faces, chosen] = [null, new Set()];
  size.max = Math.max(20, Math.round(Math.max(image.width, image.height) / 4));
  size.value = Math.max(4, Math.round(Math.max(image.width, image.height) / 12));
  element.classList.add("ti-filled");
  props.value = { image: file };
  fit();
  boxes.forEach((box) => apply({ kind: "box", box }));
  changed();
}

async function take(picked) {
  if (!picked) return;
  if (picked.size > MAX_BYTES) return say("The file has more than 20 MB. Make it smaller first.", true);
  say("Uploading…");
  try {
    const local = URL.createObjectURL(picked);
    await decode(local).finally(() => URL.revokeObjectURL(local));
    share({ ...(await upload(picked)), orig_name: picked.name });
  } catch (error) {
    say(error.message, true);
  }
}

function share(given) {
  window.textirImage = given;
  window.dispatchEvent(new CustomEvent("textir-image", { detail: given }));
}

// ---- events

const actions = {
  undo: () => operations.length && (undone.push(operations.pop()), repaint()),
  redo: () => undone.length && (operations.push(undone.pop()), repaint()),
  clear: () => apply({ kind: "clear" }),
  invert: () => apply({ kind: "invert" }),
  grow: () => apply({ kind: "grow" }),
  shrink: () => apply({ kind: "shrink" }),
  load: () => find(".ti-mask-file").click(),
  save: () => {
    if (!image) return;
    const link = document.createElement("a");
    [link.href, link.download] = [maskUrl(), "mask.png"];
    link.click();
  },
  in: () => zoom(1.25),
  out: () => zoom(0.8),
  fit,
};

function choose(name) {
  tool = name;
  all("[data-tool]").forEach((b) => b.setAttribute("aria-pressed", b.dataset.tool === name));
  if (name === "face" && image && !faces) say("Looking for faces…"), trigger("faces");
  draw();
}

function resize(factor) {
  size.value = Math.max(1, Math.round(size.value * factor + (factor > 1 ? 0.5 : -0.5)));
  draw();
}

all("[data-do]").forEach((b) => b.addEventListener("click", () => actions[b.dataset.do]()));
all("[data-tool]").forEach((b) => b.addEventListener("click", () => choose(b.dataset.tool)));
find(".ti-file").addEventListener("change", (e) => (take(e.target.files[0]), (e.target.value = "")));
find(".ti-mask-file").addEventListener("change", (e) => (takeMask(e.target.files[0]), (e.target.value = "")));
stage.addEventListener("dragover", (e) => (e.preventDefault(), stage.classList.add("ti-over")));
stage.addEventListener("dragleave", () => stage.classList.remove("ti-over"));
stage.addEventListener("drop", (e) => {
  e.preventDefault();
  stage.classList.remove("ti-over");
  take(e.dataTransfer.files[0]);
});

const visible = () => element.isConnected && element.offsetParent !== null;
document.addEventListener("paste", (e) => {
  const picked = [...(e.clipboardData?.files || [])].find((f) => f.type.startsWith("image/"));
  if (picked && visible()) take(picked);
});

function begin(point) {
  if (tool === "face") return faces && chooseFace(faceAt(point));
  if (tool === "select") return apply({ kind: "area", area: selectArea(...point) });
  stroke = { kind: "stroke", erase: tool === "eraser", size: +size.value, points: [point] };
  dab(stroke, 0);
  draw();
}

function extend(point) {
  stroke.points.push(point);
  dab(stroke, stroke.points.length - 1);
  draw();
}

function end() {
  if (!stroke) return;
  operations.push(stroke);
  [stroke, undone] = [null, []];
  changed();
}

canvas.addEventListener("pointerdown", (e) => {
  if (!image) return find(".ti-file").click();
  canvas.setPointerCapture(e.pointerId);
  touches.set(e.pointerId, place(e));
  if (touches.size === 2) {
    tap = null;
    if (stroke) (stroke = null), repaint();
  }
  const free = touches.size === 1 && (paints || tool === "face") && e.button === 0 && !e.shiftKey;
  const point = inImage(place(e));
  const within = point[0] >= 0 && point[1] >= 0 && point[0] < image.width && point[1] < image.height;
  if (!free) return;
  if (tool === "brush" || tool === "eraser") begin(point);
  else if (within) tap = point;
});

canvas.addEventListener("pointermove", (e) => {
  const now = place(e), before = touches.get(e.pointerId);
  pointer = image && inImage(now);
  if (before && !stroke && image) {
    const others = [...touches.entries()].filter(([id]) => id !== e.pointerId);
    if (others.length === 1) {
      const [x, y] = others[0][1];
      const spanned = (p) => Math.hypot(p[0] - x, p[1] - y) || 1;
      zoom(spanned(now) / spanned(before), (x + before[0]) / 2, (y + before[1]) / 2); // about the middle, which moves
      view.x += (now[0] - before[0]) / 2;
      view.y += (now[1] - before[1]) / 2;
    } else if (!others.length && tool !== "select" && tool !== "face") {
      view.x += now[0] - before[0];
      view.y += now[1] - before[1];
    }
  }
  if (before) touches.set(e.pointerId, now);
  if (stroke) extend(pointer);
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
canvas.addEventListener(
  "wheel",
  (e) => {
    if (!image || !(e.ctrlKey || e.metaKey || document.activeElement === canvas)) return;
    e.preventDefault();
    zoom(Math.exp(-e.deltaY / 400), ...place(e));
  },
  { passive: false },
);

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
canvas.addEventListener("keydown", (e) => {
  if (!image || e.ctrlKey || e.metaKey || e.altKey) return;
  if (e.key in ARROWS) {
    const step = Math.max(1, size.value / 4);
    pointer = (pointer || [image.width / 2, image.height / 2]).map((v, i) => v + step * ARROWS[e.key][i]);
    stroke ? extend(pointer) : draw();
  } else if (e.key === " " && paints) {
    pointer = pointer || [image.width / 2, image.height / 2];
    if (!e.repeat) stroke ? end() : begin(pointer);
  } else if (e.key >= "1" && e.key <= "9" && tool === "face") chooseFace(+e.key);
  else if (e.key === "+") zoom(1.25);
  else if (e.key === "-") zoom(0.8);
  else if (e.key === "0") fit();
  else return;
  e.preventDefault();
});
canvas.addEventListener("keyup", (e) => e.key === " " && end());
canvas.addEventListener("blur", () => (end(), (pointer = null), draw()));

const writing = (target) => target.closest?.("input:not([type=range]), textarea, select, [contenteditable=true]");
document.addEventListener("keydown", (e) => {
  if (!visible() || !paints || writing(e.target)) return;
  const key = e.key.toLowerCase();
  if ((e.ctrlKey || e.metaKey) && key === "z") e.shiftKey ? actions.redo() : actions.undo();
  else if (e.ctrlKey || e.metaKey || e.altKey) return;
  else if (key === "[") resize(0.8);
  else if (key === "]") resize(1.25);
  else if (key === "b") choose("brush");
  else if (key === "e") choose("eraser");
  else if (key === "s") choose("select");
  else if (key === "f" && props.faces) choose("face");
  else return;
  e.preventDefault();
});

// ---- between tabs, and with the server

let seen = null;
window.addEventListener("textir-image", ({ detail }) => show(detail));
new ResizeObserver(() => fit()).observe(stage.parentElement);
watch("value", () => {
  const given = props.value;
  if (!given || !given.number || given.number === seen) return;
  seen = given.number;
  if (given.faces) (faces = given.faces), changed(), say(given.note);
  else if (given.image) show(given.image, given.boxes);
  else given.boxes.forEach((box) => apply({ kind: "box", box }));
});
window.textirEditors = window.textirEditors || {};
window.textirEditors[props.name] = {
  value: async () => {
    await opened;
    return image && { image: file, mask: paints && operations.length ? maskUrl() : null, faces: [...chosen].sort() };
  },
  paint: (wanted) => {
    paints = wanted;
    element.classList.toggle("ti-paints", paints);
    changed();
  },
};
element.classList.toggle("ti-paints", paints);
find(".ti-faces").hidden = !props.faces;
if (window.textirImage) show(window.textirImage);
else if (props.value?.image) show(props.value.image, props.value.boxes);
changed();
