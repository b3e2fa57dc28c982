// The one place for results: a comparison, the other results of the run, settings and code, and the visit's history.
const KEPT = 24, NARROW = 800;
const find = (selector) => element.querySelector(selector);
const stage = find(".tr-stage"), range = find(".tr-range"), caption = find(".tr-caption");
let run = null, chosen = 0, past = [], seen = null;

function split(percent) {
  find(".tr-before").style.clipPath = `inset(0 ${100 - percent}% 0 0)`;
  find(".tr-line").style.left = `${percent}%`;
}

const result = () => run.results[chosen];

function thumbnail(made, caption, pressed, choose) {
  const button = document.createElement("button"), image = document.createElement("img");
  button.type = "button";
  button.setAttribute("aria-pressed", pressed);
  [image.src, image.alt] = [made.after.url, ""];
  const text = document.createElement("span");
  text.textContent = caption;
  button.append(image, text);
  button.addEventListener("click", choose);
  return button;
}

function fill(list, results, captionOf, isPressed, choose) {
  list.replaceChildren(...results.map((made, i) => thumbnail(made, captionOf(made), isPressed(i), () => choose(i))));
}

function layOut() {
  const made = result();
  if (!stage.clientWidth) return;
  const limit = Math.min(620, Math.round(window.innerHeight * 0.65));
  const height = Math.min(limit, (stage.parentElement.clientWidth * made.height) / made.width);
  stage.style.height = `${Math.round(height)}px`;
  stage.style.width = `${Math.round((height * made.width) / made.height)}px`;
}

function show(number) {
  chosen = number;
  const made = result();
  find(".tr-empty").hidden = true;
  find(".tr-full").hidden = false;
  const prompt = made.settings.prompt || "no sentence";
  find(".tr-after").src = made.after.url;
  find(".tr-before").src = made.before.url;
  find(".tr-after").alt = `Result: ${prompt}`;
  find(".tr-before").alt = "Image before";
  range.value = 50;
  split(50);
  layOut();
  caption.textContent = `${made.width} × ${made.height}`;
  find(".tr-download").href = find(".tr-open").href = made.after.url;
  find(".tr-download").download = made.after.orig_name;
  find(".tr-grid").hidden = !run.grid;
  if (run.grid) [find(".tr-grid").href, find(".tr-grid").download] = [run.grid.url, run.grid.orig_name];
  const strip = find(".tr-strip");
  strip.hidden = run.results.length < 2;
  strip.style.gridTemplateColumns = run.columns ? `repeat(${run.columns}, minmax(0, 1fr))` : "";
  fill(strip, run.results, (made) => made.caption, (i) => i === chosen, show);
  const rows = Object.entries(made.settings).flatMap(([name, value]) => {
    const [term, definition] = [document.createElement("dt"), document.createElement("dd")];
    [term.textContent, definition.textContent] = [name, value];
    return [term, definition];
  });
  find("dl").replaceChildren(...rows);
  find("pre").textContent = made.python;
}

function remember() {
  past = [...run.results, ...past.filter((p) => !run.results.some((r) => r.after.path === p.after.path))].slice(0, KEPT);
  find(".tr-past").hidden = past.length < 2;
  fill(find(".tr-history"), past, (made) => made.settings.prompt || made.caption, () => false, (i) => {
    run = { results: [past[i]], columns: 0, grid: null };
    show(0);
  });
}

async function copy(text, button) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select and copy below";
    find("pre").textContent = text;
  }
  setTimeout(() => (button.textContent = label), 1500);
}

function link() {
  const address = new URL(window.location.href.split("?")[0]);
  const names = ["task", "prompt", "edit", "beta", "skip_strength", "seed", "scale", "factor", "feather", "faces", "background"];
  for (const name of names) if (name in result().settings) address.searchParams.set(name, result().settings[name]);
  return address.href;
}

const actions = {
  use: () => {
    const { path, url, orig_name } = result().after;
    window.textirImage = { path, url, orig_name };
    window.dispatchEvent(new CustomEvent("textir-image", { detail: window.textirImage }));
  },
  link: (button) => copy(link(), button),
  python: (button) => copy(result().python, button),
  command: (button) => copy(result().command, button),
};
element.querySelectorAll("[data-do]").forEach((b) => b.addEventListener("click", () => actions[b.dataset.do](b)));
range.addEventListener("input", () => split(range.value));

const hold = find(".tr-hold");
const original = (shown) => split(shown ? 100 : range.value);
hold.addEventListener("pointerdown", () => original(true));
for (const name of ["pointerup", "pointerleave", "blur"]) hold.addEventListener(name, () => original(false));
const writing = (target) => target.closest?.("input:not([type=range]), textarea, select");
const held = (e) => run && !e.ctrlKey && !e.metaKey && !e.altKey && e.key.toLowerCase() === "c" && !writing(e.target);
document.addEventListener("keydown", (e) => held(e) && original(true));
document.addEventListener("keyup", (e) => held(e) && original(false));
document.addEventListener("keydown", (e) => {
  if (e.key !== "Enter" || !(e.ctrlKey || e.metaKey)) return;
  const button = [...document.querySelectorAll(".ti-run")].find((b) => b.offsetParent !== null && !b.disabled);
  if (button) e.preventDefault(), button.click();
});
new ResizeObserver(() => run && layOut()).observe(element);

function takeValue(first) {
  const given = props.value;
  if (!given || !given.results?.length || given.number === seen) return;
  [run, seen] = [given, given.number];
  show(0);
  remember();
  if (first) find("details").open = window.innerWidth >= NARROW;
  if (first || given.still || window.innerWidth >= NARROW) return;
  document.querySelectorAll(".ti-settings button.open, .ti-settings .label-wrap.open").forEach((b) => b.click());
  setTimeout(() => element.scrollIntoView({ behavior: "smooth", block: "start" }), 150);
}
watch("value", () => takeValue(false));
takeValue(true);
