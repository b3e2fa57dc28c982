// What the stage shows: image or result, mask, faces and brush through one transform.
let reduced = null; // the image at the mask's size, for a quick overview of a large one

function draw() {
  const pixels = window.devicePixelRatio || 1;
  const [width, height] = [stage.clientWidth, stage.clientHeight];
  if (canvas.width !== Math.round(width * pixels) || canvas.height !== Math.round(height * pixels)) {
    canvas.width = Math.round(width * pixels);
    canvas.height = Math.round(height * pixels);
  }
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!image) return;
  context.setTransform(view.scale * pixels, 0, 0, view.scale * pixels, view.x * pixels, view.y * pixels);
  context.imageSmoothingEnabled = view.scale < 3;
  const result = run && pictures[chosen];
  const before = (result && pictures.before) || (view.scale * pixels < ratio && reduced) || image;
  context.drawImage(before, 0, 0, image.width, image.height);
  if (result && !held) drawResult(result);
  context.globalAlpha = 0.5;
  if (!run) for (const layer of new Set([...whole(), ...regions()])) context.drawImage(layer.mask, 0, 0, image.width, image.height);
  context.globalAlpha = 1;
  placeFaces();
  if (rectangle) outline(() => context.strokeRect(...rectangle.slice(0, 2), rectangle[2] - rectangle[0], rectangle[3] - rectangle[1]));
  if (!paints || !pointer || !["brush", "eraser"].includes(tool)) return;
  outline(() => (context.beginPath(), context.arc(pointer[0], pointer[1], size.value / 2, 0, 7), context.stroke()));
}

// The result over the original's place, right of the line.
function drawResult(result) {
  const from = (splitAt() - view.x) / view.scale;
  context.save();
  context.beginPath();
  context.rect(from, 0, Math.max(0, image.width - from), image.height);
  context.clip();
  context.imageSmoothingEnabled = (view.scale * image.width) / result.width < 3;
  context.drawImage(result, 0, 0, image.width, image.height);
  context.restore();
}

const splitAt = () => 18 + (range.value / 100) * (stage.clientWidth - 36); // the thumb is 36 pixels wide

function split() {
  find(".ti-split i").style.left = `${splitAt()}px`;
  draw();
}

function outline(strokeShape) {
  for (const [color, width] of [["#000", 3], ["#fff", 1.5]]) {
    [context.strokeStyle, context.lineWidth] = [color, width / view.scale];
    strokeShape();
  }
}

// A box around each face, with its number, which chooses it, and the parts of it that can be masked.
function layOutFaces() {
  const layer = find(".ti-boxes");
  layer.hidden = !faces || !(facesShown || chosenFaces.size);
  if (layer.hidden) return;
  layer.replaceChildren(...faces.map((face, i) => {
    const frame = document.createElement("div"), own = chosenFaces.has(i + 1);
    frame.classList.toggle("ti-own", own);
    frame.append(button(`Face ${i + 1}`, () => chooseFace(i + 1), own));
    if (paints && facesShown) for (const [part, box] of Object.entries(face.parts)) frame.append(button(part, () => apply({ kind: "box", box })));
    return frame;
  }));
  placeFaces();
}

function placeFaces() {
  [...find(".ti-boxes").children].forEach((frame, i) => {
    if (!faces?.[i]) return;
    const [left, top, right, bottom] = faces[i].box;
    const edges = { left: left * view.scale + view.x, top: top * view.scale + view.y };
    const sides = { width: (right - left) * view.scale, height: (bottom - top) * view.scale };
    for (const [name, value] of Object.entries({ ...edges, ...sides })) frame.style[name] = `${value}px`;
  });
}

function button(text, act, pressed = null) {
  const made = document.createElement("button");
  [made.type, made.textContent] = ["button", text];
  if (pressed !== null) made.setAttribute("aria-pressed", pressed);
  made.addEventListener("click", act);
  return made;
}

function chooseFace(number) {
  if (!faces || number < 1 || number > faces.length) return;
  chosenFaces.delete(number) || chosenFaces.add(number);
  changed();
}

function fit() {
  if (!image) return draw();
  const [width, height] = [stage.clientWidth, stage.clientHeight];
  view.scale = Math.min(width / image.width, height / image.height);
  view.x = (width - image.width * view.scale) / 2;
  view.y = (height - image.height * view.scale) / 2;
  split();
}

function zoom(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  const scale = Math.min(40, Math.max(0.02, view.scale * factor));
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  view.scale = scale;
  draw();
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

function inImage([x, y]) {
  return [(x - view.x) / view.scale, (y - view.y) / view.scale];
}
