// The mask of an editor, at the image's own size, as a list of operations that undo takes back. It shares the scope of
// `editor.js`, which shows it.
const COLOR = "#e5177b", TOLERANCE = 32, LONGEST = 1024;
const mask = document.createElement("canvas"), ink = mask.getContext("2d");
let operations = [], undone = [];

function dab(operation, from) {
  ink.globalCompositeOperation = operation.erase ? "destination-out" : "source-over";
  ink.strokeStyle = ink.fillStyle = COLOR;
  ink.lineCap = ink.lineJoin = "round";
  ink.lineWidth = operation.size;
  const points = operation.points.slice(Math.max(0, from - 1));
  ink.beginPath();
  if (points.length === 1) ink.arc(points[0][0], points[0][1], operation.size / 2, 0, 7), ink.fill();
  else points.forEach(([x, y], i) => (i ? ink.lineTo(x, y) : ink.moveTo(x, y))), ink.stroke();
  ink.globalCompositeOperation = "source-over";
}

function spread(radius) {
  const copy = document.createElement("canvas");
  [copy.width, copy.height] = [mask.width, mask.height];
  copy.getContext("2d").drawImage(mask, 0, 0);
  for (let r = 1; r <= radius; r++)
    for (let i = 0; i < 24; i++)
      ink.drawImage(copy, r * Math.cos((i * Math.PI) / 12), r * Math.sin((i * Math.PI) / 12));
}

function invert() {
  ink.globalCompositeOperation = "xor";
  ink.fillStyle = COLOR;
  ink.fillRect(0, 0, mask.width, mask.height);
  ink.globalCompositeOperation = "source-over";
}

const KINDS = {
  stroke: (o) => dab(o, 0),
  box: ({ box: [left, top, right, bottom] }) => {
    ink.fillStyle = COLOR;
    ink.fillRect(left, top, right - left, bottom - top);
  },
  area: (o) => {
    ink.imageSmoothingEnabled = false;
    ink.drawImage(o.area, 0, 0, mask.width, mask.height);
  },
  clear: () => ink.clearRect(0, 0, mask.width, mask.height),
  invert,
  grow: () => spread(4),
  shrink: () => (invert(), spread(4), invert()),
};

function repaint() {
  ink.clearRect(0, 0, mask.width, mask.height);
  operations.forEach((o) => KINDS[o.kind](o));
  changed();
}

function apply(operation) {
  if (!image || !paints) return;
  operations.push(operation);
  undone = [];
  KINDS[operation.kind](operation);
  changed();
}

function measure() {
  const side = Math.min(1, 256 / Math.max(mask.width, mask.height));
  const small = document.createElement("canvas");
  small.width = Math.max(1, mask.width * side);
  small.height = Math.max(1, mask.height * side);
  const pen = small.getContext("2d");
  pen.drawImage(mask, 0, 0, small.width, small.height);
  const data = pen.getImageData(0, 0, small.width, small.height).data;
  let count = 0;
  for (let i = 3; i < data.length; i += 4) count += data[i] >= 128;
  return count / (small.width * small.height);
}

function selectArea(x, y) {
  const scale = Math.min(1, LONGEST / Math.max(image.width, image.height));
  const area = document.createElement("canvas");
  const [width, height] = [Math.max(1, Math.round(image.width * scale)), Math.max(1, Math.round(image.height * scale))];
  [area.width, area.height] = [width, height];
  const pen = area.getContext("2d");
  pen.drawImage(image, 0, 0, width, height);
  const pixels = pen.getImageData(0, 0, width, height), data = pixels.data;
  const start = Math.min(height - 1, Math.floor(y * scale)) * width + Math.min(width - 1, Math.floor(x * scale));
  const [r, g, b] = data.slice(4 * start, 4 * start + 3);
  const seen = new Uint8Array(width * height), heap = [start];
  seen[start] = 1;
  while (heap.length) {
    const i = heap.pop(), column = i % width;
    for (const j of [column ? i - 1 : -1, column < width - 1 ? i + 1 : -1, i - width, i + width]) {
      if (j < 0 || j >= seen.length || seen[j]) continue;
      const away = Math.hypot(data[4 * j] - r, data[4 * j + 1] - g, data[4 * j + 2] - b);
      if (away <= TOLERANCE) (seen[j] = 1), heap.push(j);
    }
  }
  pen.clearRect(0, 0, width, height);
  pen.fillStyle = COLOR;
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
    const area = document.createElement("canvas");
    [area.width, area.height] = [given.width, given.height];
    const pen = area.getContext("2d");
    pen.drawImage(given, 0, 0);
    const pixels = pen.getImageData(0, 0, area.width, area.height), data = pixels.data;
    const rgb = [1, 3, 5].map((i) => parseInt(COLOR.slice(i, i + 2), 16));
    marks(data).forEach((marked, i) => data.set([...rgb, marked >= 128 ? 255 : 0], 4 * i));
    pen.putImageData(pixels, 0, 0);
    apply({ kind: "area", area });
  } catch (error) {
    say(error.message, true);
  } finally {
    URL.revokeObjectURL(url);
  }
}

function maskUrl() {
  const sheet = document.createElement("canvas");
  [sheet.width, sheet.height] = [mask.width, mask.height];
  const pen = sheet.getContext("2d");
  pen.drawImage(mask, 0, 0);
  const pixels = pen.getImageData(0, 0, sheet.width, sheet.height), data = pixels.data;
  for (let i = 0; i < data.length; i += 4) {
    const value = data[i + 3] >= 128 ? 255 : 0;
    data[i] = data[i + 1] = data[i + 2] = value;
    data[i + 3] = 255;
  }
  pen.putImageData(pixels, 0, 0);
  return sheet.toDataURL("image/png");
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
