// Several files given at once: a list to step through, in which each keeps its mask, its regions and its result.
const MOST_FILES = 50;
let files = [], entry = null; // and which of them is open

function takeAll(list) {
  const picked = [...list].slice(0, MOST_FILES);
  if (picked.length < 2) return take(picked[0]);
  files.forEach((one) => URL.revokeObjectURL(one.after.url));
  files = picked.map((one) => ({ picked: one, after: { url: URL.createObjectURL(one) }, kept: null }));
  for (const one of files) one.tile = thumbnail(one, one.picked.name, false, () => toFile(one));
  find(".ti-files").replaceChildren(...files.map((one) => one.tile));
  find(".ti-files").hidden = false;
  return toFile(files[0]);
}

function toFile(one) {
  if (one === entry) return opened;
  if (!one.kept) return take(one.picked, { one });
  remember();
  bring(one.kept);
}

function stepFile(by) {
  if (files.length) toFile(files[(files.indexOf(entry) + by + files.length) % files.length]);
}

function markFile() {
  for (const one of files) one.tile.setAttribute("aria-pressed", one === entry);
}
