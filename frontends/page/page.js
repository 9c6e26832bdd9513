// The page: panes and the bars between them, keys, search, light and dark, the line at the foot.

const status = document.getElementById("status");
const box = document.getElementById("search");

// What is known of a line: the user's line, what it became in each text, how long it takes.
function say(set, text, line) {
  const [numbers, kernels] = data.sets[set];
  const places = numbers.map((place) => data.places[place]);
  if (!places.length) { status.textContent = text ? `${text.title}, line ${line + text.first}` : ""; return; }
  const [file, number] = data.spots[places[0][0]];
  const source = data.documents.find((each) => each.language === "python" && each.file === file);
  const words = source?.lines[number - source.first]?.trim() ?? "";
  const parts = data.documents.filter((each) => each.language !== "python" && each.counted)
    .map((each) => [each, links.linesIn(each).length]).filter(([, count]) => count)
    .map(([each, count]) => `${count} in ${each.group === "backward" ? "backward " : ""}${each.title}`);
  const seconds = source?.times?.[number];
  const notes = [...new Set(places.map((place) => place[2]).filter(Boolean))];
  status.innerHTML = [`<b>${escaped(data.files[file])}:${number}</b> <code>${escaped(words)}</code>`,
    seconds ? `<b>${duration(seconds)}</b>, ${(100 * seconds / source.total).toFixed(1)} %` : "",
    kernels.map((name) => kernelFacts(text?.group || "forward", name)).join("; "), escaped(parts.join(", ")), escaped(notes.length < 3 ? notes.join("; ") : "")].filter(Boolean).join(" &nbsp;·&nbsp; ");
}

// A kernel's name, and its time beside the bound that arithmetic or memory sets, where it was measured.
function kernelFacts(program, name) {
  const [seconds, least, bound] = data.kernels[`${program} ${name}`] ?? [];
  if (!seconds) return `kernel <b>${name}</b>`;
  const part = seconds > least ? `, ${Math.round(100 * least / seconds)} % of the ${bound} bound` : ", from caches";
  return `kernel <b>${name}</b> ${duration(seconds)}${part}`;
}

const inPane = (name) => data.documents.filter((text) => text.pane === name);
const drawing = document.getElementById("drawing").content;
const panes = [
  inPane("source").length && new TextPane("source", "Python", inPane("source")),
  drawing.querySelector("svg") && new GraphPane("graph", "Graph", drawing),
  inPane("program").length && new TextPane("program", "Program", inPane("program")),
  inPane("machine").length && new TextPane("machine", "Machine", inPane("machine")),
].filter(Boolean);
const named = Object.fromEntries(panes.map((pane) => [pane.name, pane]));

function bar(orientation, before, after) {
  const made = element("div", { class: "bar", role: "separator", "aria-orientation": orientation, tabindex: 0, "aria-label": "resize", "aria-valuenow": 50 });
  const across = orientation === "vertical" ? ["clientWidth", "clientX"] : ["clientHeight", "clientY"];
  const share = (part) => {
    const [a, b] = [before[across[0]], after[across[0]]];
    const [growA, growB] = [before, after].map((each) => Number(each.style.flexGrow || 1));
    const grown = Math.max(0.08, Math.min(0.92, part ?? a / (a + b)));
    before.style.flexGrow = (growA + growB) * grown;
    after.style.flexGrow = (growA + growB) * (1 - grown);
    made.setAttribute("aria-valuenow", Math.round(100 * grown));
  };
  made.onpointerdown = (event) => {
    made.setPointerCapture(event.pointerId);
    const start = before.getBoundingClientRect()[orientation === "vertical" ? "left" : "top"];
    const whole = before[across[0]] + after[across[0]];
    made.onpointermove = (next) => share((next[across[1]] - start) / whole);
    made.onpointerup = () => { made.onpointermove = null; };
  };
  made.onkeydown = (event) => {
    const by = { ArrowLeft: -0.04, ArrowUp: -0.04, ArrowRight: 0.04, ArrowDown: 0.04 }[event.key];
    if (!by) return;
    event.stopPropagation();
    event.preventDefault();
    share(before[across[0]] / (before[across[0]] + after[across[0]]) + by);
  };
  return made;
}

const columns = [[named.source, named.graph], [named.program], [named.machine]]
  .map((column) => column.filter(Boolean)).filter((column) => column.length)
  .map((column) => {
    const made = element("div", { class: "column" });
    if (column.includes(named.program)) made.style.flexGrow = 1.25;
    column.forEach((pane, i) => {
      if (i) made.append(bar("horizontal", column[i - 1].root, pane.root));
      made.append(pane.root);
    });
    return made;
  });
columns.forEach((column, i) => {
  if (i) document.getElementById("panes").append(bar("vertical", columns[i - 1], column));
  document.getElementById("panes").append(column);
});
document.getElementById("name").textContent = `@${data.name}`;
document.getElementById("facts").textContent = data.facts;
for (const pane of panes) {
  pane.open();
  pane.grow.onclick = () => enlarge(pane);
}

function enlarge(pane) {
  const large = pane && !pane.root.classList.contains("large");
  for (const each of panes) each.root.classList.toggle("large", large && each === pane);
  pane?.focus.focus();
  for (const each of panes) { each.render(); each.drawRuler(); }
}

// -- light and dark ----------------------------------------------------------------------------------------------
const dark = matchMedia("(prefers-color-scheme: dark)");
let chosen = null;
function theme() {
  document.documentElement.dataset.theme = chosen ?? (dark.matches ? "dark" : "light");
  for (const pane of panes) pane.drawRuler();
}
function switchTheme() {
  chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  theme();
}
dark.onchange = theme;
document.getElementById("theme").onclick = switchTheme;
theme();

// -- search ------------------------------------------------------------------------------------------------------
function searchAll(words) {
  search.find(words);
  for (const pane of panes) pane.searched();
  const count = data.documents.reduce((sum, text) => sum + text.matches.length, 0);
  document.getElementById("found").textContent = words ? `${count} found` : "";
}
box.oninput = () => searchAll(box.value);
box.onkeydown = (event) => {
  event.stopPropagation();
  if (event.key === "Escape") { box.value = ""; searchAll(""); panes[0].focus.focus(); }
  if (event.key !== "Enter") return;
  const pane = panes.find((each) => each.text?.matches.length) ?? panes.find((each) => each.texts?.some((text) => text.matches.length));
  if (!pane) return;
  if (!pane.text.matches.length) pane.show(pane.texts.find((text) => text.matches.length));
  pane.active = -1;
  pane.focus.focus();
  pane.jump(1);
};

// -- keys --------------------------------------------------------------------------------------------------------
const help = document.getElementById("help");
document.getElementById("help-open").onclick = () => help.showModal();
const focused = () => panes.find((pane) => pane.root.contains(document.activeElement));
function neighbour(by) {
  const at = panes.indexOf(focused());
  panes[(at + by + panes.length) % panes.length].focus.focus();
}
const last = (pane) => (pane.text ? pane.text.lines.length : pane.boxes.length) - 1;
const KEYS = {
  ArrowDown: (pane) => pane.move(pane.active + 1), j: (pane) => pane.move(pane.active + 1),
  ArrowUp: (pane) => pane.move(pane.active - 1), k: (pane) => pane.move(pane.active - 1),
  PageDown: (pane) => pane.move(pane.active + 25), PageUp: (pane) => pane.move(pane.active - 25),
  Home: (pane) => pane.move(0), End: (pane) => pane.move(last(pane)),
  g: (pane) => pane.move(0), G: (pane) => pane.move(last(pane)),
  Enter: (pane) => pane.choose(Math.max(0, pane.active)), " ": (pane) => pane.choose(Math.max(0, pane.active)),
  n: (pane) => pane.jump(1), p: (pane) => pane.jump(-1), N: (pane) => pane.jump(-1),
  ArrowRight: () => neighbour(1), l: () => neighbour(1), ArrowLeft: () => neighbour(-1), h: () => neighbour(-1),
  "[": (pane) => pane.step(-1), "]": (pane) => pane.step(1),
  "+": () => named.graph?.scale(named.graph.zoom * 1.25), "=": () => named.graph?.scale(named.graph.zoom * 1.25),
  "-": () => named.graph?.scale(named.graph.zoom / 1.25), 0: () => named.graph?.fit(),
  "/": () => box.focus(), "?": () => help.showModal(), t: switchTheme, f: (pane) => enlarge(pane),
  Escape: () => {
    if (panes.some((pane) => pane.root.classList.contains("large"))) return enlarge(null);
    box.value = "";
    searchAll("");
    links.release();
    status.textContent = HINT;
  },
};
function nextTab(event) {
  event.preventDefault();
  const pane = focused();
  const name = event.target.parentElement === pane.tabs ? "tabs" : "groups";
  const next = event.key === "ArrowRight" ? event.target.nextElementSibling : event.target.previousElementSibling;
  next?.click();
  pane[name].querySelector("[aria-selected=true]").focus();
}
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  if (event.target.matches("button, [role=separator]") && ["Enter", " "].includes(event.key)) return;
  if (event.target.matches("[role=tab]") && ["ArrowLeft", "ArrowRight"].includes(event.key)) return nextTab(event);
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act(focused() ?? panes[0]);
});
const HINT = "Point at a line to see what it became; click to hold it.  ? lists the keys.";
status.textContent = HINT;
