// The mask over the image, at the image's own size up to 4 megapixels and smaller above; the server enlarges it. Above it
// lie the regions that have a sentence of their own.
const COLOR = "#e5177b", LONGEST = 1024, MASK_PIXELS = 4e6, UNDO_PIXELS = 6e7;
let layers = [], at = 0; // the mask and the regions' masks; which of them is painted
let mask = sheet(1, 1), ink = null; // the painted one; `remember` leaves it to the snapshots and goes on with a copy
let ratio = 1; // of the mask's pixels to the image's
let undone = [], past = []; // snapshots of everything that undo brings back

function sheet(width, height) {
  const made = document.createElement("canvas");
  [made.width, made.height] = [Math.max(1, Math.round(width)), Math.max(1, Math.round(height))];
  return made;
}

function copyOf(source, width = source.width, height = source.height) {
  const copy = sheet(width, height);
  copy.getContext("2d", { willReadFrequently: true }).drawImage(source, 0, 0, copy.width, copy.height);
  return copy;
}

function resetMask() {
  ratio = Math.min(1, Math.sqrt(MASK_PIXELS / (image.width * image.height)));
  layers = [{ mask: sheet(image.width * ratio, image.height * ratio), about: { color: COLOR, shown: true } }];
  activate(0);
}

function activate(number) {
  at = number;
  mask = layers[at].mask;
  ink = mask.getContext("2d", { willReadFrequently: true });
  setPaints();
}

const color = () => layers[at].about.color;
const regional = () => props.regions.includes(tab());
const regions = () => (regional() ? layers.slice(1).filter((layer) => layer.about.shown) : []);
const whole = () => (painting[tab()] ? [layers[0], ...regions()] : []); // what is restored, where a mask says it
const snapshot = () => ({ ...state(), layers: [...layers], at, ratio });

function remember() {
  past.push(snapshot());
  if (entry) entry.kept = past.at(-1); // of a file of the list, which another image may follow
  undone = [];
  if (!layers.length) return;
  layers[at] = { ...layers[at], mask: copyOf(mask), url: null };
  activate(at);
  const most = Math.max(4, Math.min(60, UNDO_PIXELS / (mask.width * mask.height)));
  if (past.length > most) past.shift();
}

function step(from, to) {
  if (!from.length) return;
  to.push(snapshot());
  bring(from.pop());
}

function bring(back) {
  [ratio, layers] = [back.ratio, [...back.layers]];
  activate(back.at);
  restore(back);
}

// Draws what has been added to a stroke, from point `from` on, in the image's pixels.
function dab(stroke, from) {
  ink.setTransform(ratio, 0, 0, ratio, 0, 0);
  ink.globalCompositeOperation = stroke.erase ? "destination-out" : "source-over";
  ink.strokeStyle = ink.fillStyle = color();
  ink.lineCap = ink.lineJoin = "round";
  ink.lineWidth = stroke.size;
  const points = stroke.points.slice(Math.max(0, from - 1));
  ink.beginPath();
  if (points.length === 1) ink.arc(points[0][0], points[0][1], stroke.size / 2, 0, 7), ink.fill();
  else points.forEach(([x, y], i) => (i ? ink.lineTo(x, y) : ink.moveTo(x, y))), ink.stroke();
  plain();
}

function plain() {
  ink.setTransform(1, 0, 0, 1, 0, 0);
  ink.globalCompositeOperation = "source-over";
  ink.imageSmoothingEnabled = true;
}

// What a mask covers, `radius` pixels wider on all sides, in a sheet of at most 512 pixels.
function widened(source, radius) {
  const scale = Math.min(1, 512 / Math.max(source.width, source.height));
  const seed = copyOf(source, source.width * scale, source.height * scale), wide = copyOf(seed);
  const pen = wide.getContext("2d");
  for (let r = Math.max(1, radius * scale); r > 0.5; r -= 1.5)
    for (let i = 0; i < 24; i++) pen.drawImage(seed, r * Math.cos((i * Math.PI) / 12), r * Math.sin((i * Math.PI) / 12));
  return wide;
}

function invert() {
  ink.globalCompositeOperation = "xor";
  ink.fillStyle = color();
  ink.fillRect(0, 0, mask.width, mask.height);
  plain();
}

const radius = () => Math.max(4, Math.max(mask.width, mask.height) / 100);
const KINDS = {
  box: ({ box: [left, top, right, bottom] }) => {
    ink.fillStyle = color();
    ink.fillRect(left * ratio, top * ratio, (right - left) * ratio, (bottom - top) * ratio);
  },
  area: (o) => {
    ink.imageSmoothingEnabled = false;
    ink.drawImage(o.area, 0, 0, mask.width, mask.height);
    plain();
  },
  clear: () => ink.clearRect(0, 0, mask.width, mask.height),
  invert,
  grow: () => ink.drawImage(widened(mask, radius()), 0, 0, mask.width, mask.height),
  shrink: () => {
    invert();
    const outside = widened(mask, radius());
    invert();
    ink.globalCompositeOperation = "destination-out";
    ink.drawImage(outside, 0, 0, mask.width, mask.height);
    plain();
  },
};

function apply(operation) {
  if (!image || !paints) return;
  remember();
  run = null;
  KINDS[operation.kind](operation);
  changed();
  follow();
}

// Which share of a box, in the image's pixels, some layers cover.
function measure(parts, [left, top, right, bottom] = [0, 0, image.width, image.height]) {
  const side = Math.min(ratio, 256 / Math.max(right - left, bottom - top));
  const small = sheet((right - left) * side, (bottom - top) * side), pen = small.getContext("2d", { willReadFrequently: true });
  for (const part of parts) pen.drawImage(part.mask, -left * side, -top * side, image.width * side, image.height * side);
  const data = pen.getImageData(0, 0, small.width, small.height).data;
  let count = 0;
  for (let i = 3; i < data.length; i += 4) count += data[i] >= 128;
  return count / (small.width * small.height);
}

function selectArea(x, y) {
  const scale = Math.min(1, LONGEST / Math.max(image.width, image.height)), tolerance = +find(".ti-tolerance").value;
  const area = copyOf(image, image.width * scale, image.height * scale), { width, height } = area;
  const pen = area.getContext("2d");
  const { data } = pen.getImageData(0, 0, width, height);
  const start = Math.min(height - 1, Math.floor(y * scale)) * width + Math.min(width - 1, Math.floor(x * scale));
  const [r, g, b] = data.slice(4 * start, 4 * start + 3);
  const seen = new Uint8Array(width * height), heap = [start];
  seen[start] = 1;
  while (heap.length) {
    const i = heap.pop(), column = i % width;
    for (const j of [column ? i - 1 : -1, column < width - 1 ? i + 1 : -1, i - width, i + width]) {
      if (j < 0 || j >= seen.length || seen[j]) continue;
      const away = Math.hypot(data[4 * j] - r, data[4 * j + 1] - g, data[4 * j + 2] - b);
      if (away <= tolerance) (seen[j] = 1), heap.push(j);
    }
  }
  pen.clearRect(0, 0, width, height);
  pen.fillStyle = color();
  for (let i = 0; i < seen.length; i++) if (seen[i]) pen.fillRect((i % width) - 1, Math.floor(i / width) - 1, 3, 3);
  return area;
}

async function takeMask(picked) {
  if (!picked || !image) return;
  const url = URL.createObjectURL(picked);
  try {
    const given = await decode(url);
    if (given.width !== image.width || given.height !== image.height)
      return say(
        `The mask must have the image's size ${image.width} × ${image.height}, got ${given.width} × ${given.height}.`,
        true,
      );
    apply({ kind: "area", area: inked(given, color()) });
  } catch (error) {
    say(error.message, true);
  } finally {
    URL.revokeObjectURL(url);
  }
}

// What is white in a picture, in a color.
function inked(picture, color) {
  const area = copyOf(picture), pen = area.getContext("2d");
  const pixels = pen.getImageData(0, 0, area.width, area.height), data = pixels.data;
  const rgb = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
  marks(data).forEach((marked, i) => data.set([...rgb, marked >= 128 ? 255 : 0], 4 * i));
  pen.putImageData(pixels, 0, 0);
  return area;
}

// Layers as black and white: of their own size for the server, of the image's to be saved.
function maskUrl(parts, width = mask.width, height = mask.height) {
  const paper = sheet(width, height), pen = paper.getContext("2d", { willReadFrequently: true });
  for (const part of parts) pen.drawImage(part.mask, 0, 0, paper.width, paper.height);
  const pixels = pen.getImageData(0, 0, paper.width, paper.height), data = pixels.data;
  for (let i = 0; i < data.length; i += 4) {
    data[i] = data[i + 1] = data[i + 2] = data[i + 3] >= 128 ? 255 : 0;
    data[i + 3] = 255;
  }
  pen.putImageData(pixels, 0, 0);
  return paper.toDataURL("image/png");
}

const FEW = 0.001, MOST_SOFT = 0.25;

// How much each pixel of a mask's RGBA data is marked, 0..255, by the rules of `to_mask` in imaging/raster.py.
function marks(data) {
  const count = data.length / 4, white = new Uint8Array(count);
  const soft = (value) => value > 25 && value < 230;
  let opaque = 0, bright = 0, gray = 0, seeThrough = false;
  for (let i = 0; i < count; i++) {
    const alpha = data[4 * i + 3];
    white[i] = (data[4 * i] + data[4 * i + 1] + data[4 * i + 2]) / 3;
    seeThrough ||= alpha < 255;
    if (alpha < 128) continue;
    opaque += 1;
    bright += white[i] >= 128;
    gray += soft(white[i]);
  }
  if (seeThrough) {
    const share = opaque ? bright / opaque : 1;
    const byAlpha = share < FEW || gray > MOST_SOFT * opaque;  // black, or the image itself
    if (!byAlpha && share <= 1 - FEW)
      throw new Error("The mask is black, white and transparent, so it may mean two regions. Make it opaque.");
    for (let i = 0; i < count; i++) {
      const alpha = data[4 * i + 3];
      white[i] = byAlpha ? 255 - alpha : (white[i] * alpha) / 255;
    }
  }
  if (white.filter(soft).length > MOST_SOFT * count)
    throw new Error("The mask looks like a photo. Give one that is black and white.");
  if (!white.some((value) => value >= 128)) throw new Error("The mask marks nothing: white is repainted.");
  return white;
}
