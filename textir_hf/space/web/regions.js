// Regions: parts of the image with a sentence of their own, each a layer over the mask with its own color.
const COLORS = ["#2f7de1", "#e8a200", "#1fa34a", "#8a4fd3", "#00a3b4", "#c2562a"];
const EYE = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M2 12q10-14 20 0q-10 14-20 0z"/><circle cx="12" cy="12" r="3"/></svg>';
const BIN = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13"/></svg>';
let listed = null; // what the list shows
let awaited = null; // masks and sentences from a link or a PNG, until their image comes

function region(prompt = "", beta = "") {
  const free = COLORS.find((one) => layers.every((layer) => layer.about.color !== one));
  return { mask: sheet(mask.width, mask.height), about: { color: free, prompt, beta, shown: true } };
}

function addRegion() {
  if (!image || !regional() || layers.length > COLORS.length) return;
  remember();
  run = null;
  layers.push(region());
  choose(tool === "eraser" ? "brush" : tool);
  paintOn(layers.length - 1);
}

function paintOn(number) {
  layers[number].about.shown = true;
  activate(number);
  run = null;
  changed();
}

function removeRegion(number) {
  remember();
  run = null;
  layers.splice(number, 1);
  paintOn(0);
}

function showRegions() {
  const hidden = !regional() || layers.length < 2;
  find("[data-do=region]").hidden = !regional();
  find("[data-do=region]").disabled = layers.length > COLORS.length;
  find(".ti-regions").hidden = hidden;
  element.classList.toggle("ti-has-regions", !hidden);
  const now = JSON.stringify([tab(), at, hidden, layers.map(({ about }) => [about.color, about.shown])]);
  if (now === listed) return;
  listed = now;
  if (hidden) return find(".ti-regions").replaceChildren();
  const rest = button(painting[tab()] ? "Mask" : "The rest", () => paintOn(0), at === 0);
  rest.title = painting[tab()] ? "Paint the mask itself" : "Outside the regions, the sentence below holds";
  find(".ti-regions").replaceChildren(rest, ...layers.slice(1).map((layer, i) => rowOf(layer, i + 1)));
}

function rowOf(layer, number) {
  const row = document.createElement("span"), { about } = layer;
  const chip = button(`${number}`, () => paintOn(number), at === number);
  chip.style.setProperty("--ti-region", about.color);
  [chip.className, chip.title] = ["ti-chip", `Paint region ${number}`];
  chip.setAttribute("aria-label", chip.title);
  const field = input(about, "prompt", { placeholder: "What does it show?", maxLength: 500, ariaLabel: `Sentence of region ${number}` });
  const beta = input(about, "beta", { type: "number", min: 0, max: 2, step: 0.05, placeholder: "beta", ariaLabel: `Text strength of region ${number}` });
  beta.title = "Text strength (beta), 0 to 2. Empty: as for the whole image";
  const eye = icon(EYE, `Show and use region ${number}`, () => {
    about.shown = !about.shown;
    if (at === number) activate(0); // nobody paints what is hidden
    run = null;
    changed();
  }, about.shown);
  row.append(chip, field, beta, eye, icon(BIN, `Delete region ${number}`, () => removeRegion(number)));
  return row;
}

function input(about, name, options) {
  const field = Object.assign(document.createElement("input"), options, { value: about[name] ?? "" });
  field.addEventListener("input", () => ((about[name] = field.value), keep()));
  return field;
}

function icon(drawing, label, act, pressed = null) {
  const made = button("", act, pressed);
  [made.innerHTML, made.title] = [drawing, label];
  made.setAttribute("aria-label", label);
  return made;
}

// Regions of a link or a PNG are laid on the image that has their size.
async function fitRegions(wanted = awaited) {
  if (!image || !wanted?.length) return;
  const onto = image, given = [wanted].flat().filter((one) => String(one?.[0]).startsWith("data:image/png;base64,")).slice(0, COLORS.length);
  const pictures = await Promise.all(given.map(([url]) => decode(url).catch(() => null)));
  if (image !== onto || pictures.some((one) => one?.width !== image.width || one?.height !== image.height)) return;
  if (wanted === awaited) awaited = null;
  layers.splice(1);
  given.forEach(([, prompt, beta], i) => {
    const made = region(String(prompt), Number.isFinite(beta) ? String(beta) : "");
    made.mask.getContext("2d", { willReadFrequently: true }).drawImage(inked(pictures[i], made.about.color), 0, 0, made.mask.width, made.mask.height);
    layers.push(made);
  });
  paintOn(0);
}
