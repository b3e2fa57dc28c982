// What an editor shows: image, mask, faces and brush through one transform. It shares the scope of `editor.js`.
function draw() {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [stage.clientWidth, stage.clientHeight];
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!image) return;
  context.setTransform(view.scale * ratio, 0, 0, view.scale * ratio, view.x * ratio, view.y * ratio);
  context.imageSmoothingEnabled = view.scale < 3;
  context.drawImage(image, 0, 0);
  if (paints) {
    context.globalAlpha = 0.5;
    context.drawImage(mask, 0, 0);
    context.globalAlpha = 1;
  }
  if (faces && (tool === "face" || chosen.size)) faces.forEach(outline);
  if (!paints || !pointer || tool === "select" || tool === "face") return;
  for (const [color, width] of [["#000", 3], ["#fff", 1.5]]) {
    context.beginPath();
    context.strokeStyle = color;
    context.lineWidth = width / view.scale;
    context.arc(pointer[0], pointer[1], size.value / 2, 0, 7);
    context.stroke();
  }
}

function outline([left, top, right, bottom], i) {
  const unit = 1 / view.scale, own = chosen.has(i + 1);
  for (const [color, width] of [["#000", 5], [own ? "#ffd60a" : "#fff", own ? 3.5 : 2]]) {
    [context.strokeStyle, context.lineWidth] = [color, width * unit];
    context.strokeRect(left, top, right - left, bottom - top);
  }
  context.fillStyle = "#000";
  context.fillRect(left, top, 20 * unit, 20 * unit);
  context.fillStyle = own ? "#ffd60a" : "#fff";
  context.font = `bold ${14 * unit}px sans-serif`;
  context.fillText(i + 1, left + 5 * unit, top + 15 * unit);
}

function chooseFace(number) {
  if (!faces || number < 1 || number > faces.length) return;
  chosen.delete(number) || chosen.add(number);
  changed();
}

function faceAt([x, y]) {
  return 1 + faces.findIndex(([left, top, right, bottom]) => x >= left && x < right && y >= top && y < bottom);
}

function fit() {
  if (!image) return draw();
  const limit = Math.min(520, Math.round(window.innerHeight * 0.38));
  stage.style.height = `${Math.max(160, Math.min(limit, (stage.clientWidth * image.height) / image.width))}px`;
  const [width, height] = [stage.clientWidth, stage.clientHeight];
  view.scale = Math.min(width / image.width, height / image.height);
  view.x = (width - image.width * view.scale) / 2;
  view.y = (height - image.height * view.scale) / 2;
  draw();
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
