"use strict";
// The texts, which lines of them come from which spots of the user's program, and which spots are looked at.

const data = JSON.parse(document.getElementById("data").textContent);
const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};
const escaped = (text) => text.replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]);

// A place is [spot, backward, note]; a spot is [file, line, column, end]; a set is [places, kernels]; set 0 is empty.
const spotsOf = data.sets.map(([places]) => [...new Set(places.map((place) => data.places[place][0]))]);
const directionOf = data.sets.map(([places]) => {
  const backward = places.some((place) => data.places[place][1]);
  const forward = places.some((place) => !data.places[place][1]);
  return (forward ? "forward " : "") + (backward ? "backward " : "");
});

// A whole line (columns 0) goes with all expressions in it.
const lineOf = data.spots.map(([file, line]) => `${file}:${line}`);
const relatedTo = data.spots.map(([, , column], spot) => (column ? [spot] : [...lineOf.keys()].filter((other) => lineOf[other] === lineOf[spot])));
const related = (set) => [...new Set(spotsOf[set].flatMap((spot) => relatedTo[spot]))];

for (const text of data.documents) {
  text.lines = text.text.split("\n");
  text.sets = new Int32Array(text.lines.length);
  let line = 0;
  for (let i = 0; i < text.runs.length; i += 2) {
    text.sets.fill(text.runs[i + 1], line, line + text.runs[i]);
    line += text.runs[i];
  }
  text.longest = text.lines.reduce((most, each) => Math.max(most, each.length), 0);
  text.index = new Map();
  text.sets.forEach((set, number) => {
    for (const spot of spotsOf[set]) {
      if (!text.index.has(spot)) text.index.set(spot, []);
      text.index.get(spot).push(number);
    }
  });
  text.matches = [];
}

// What a line or box stands for: its spots, the kernels that compute it and of which program, and its direction.
const NOTHING = { spots: [], kernels: [], group: "", direction: "" };
const lookAt = (set, group) => (set ? { spots: related(set), kernels: data.sets[set][1], group, direction: directionOf[set].trim() } : NOTHING);

// What is held (clicked) and what is pointed at; the latter is shown while there is something under the pointer.
const links = {
  held: NOTHING, under: NOTHING, listeners: [], version: 0,
  get shown() { return this.under.spots.length ? this.under : this.held; },
  get spots() { return this.shown.spots; },
  hold(set, group = "") { this.held = lookAt(set, group); this.under = NOTHING; this.changed(true); },
  point(set, group = "") {
    const look = lookAt(set, group);
    if (String(look.spots) === String(this.under.spots) && String(look.kernels) === String(this.under.kernels)) return;
    this.under = look;
    this.changed(false);
  },
  release() { this.held = this.under = NOTHING; this.changed(false); },
  changed(reveal) { this.version += 1; for (const listener of this.listeners) listener(reveal); },
  has(set) { return spotsOf[set].some((spot) => this.spots.includes(spot)); },
  // The linked lines of a text, in order; of machine code those in the same kernel, where there are some.
  linesIn(text) {
    if (text.linkedAt !== this.version) {
      const { spots, kernels, group } = this.shown;
      let lines = [...new Set(spots.flatMap((spot) => text.index.get(spot) ?? []))].sort((a, b) => a - b);
      if (text.pane === "machine" && kernels.length && text.group === group) {
        const inside = lines.filter((line) => data.sets[text.sets[line]][1].some((kernel) => kernels.includes(kernel)));
        if (inside.length) lines = inside;
      }
      text.linkedAt = this.version;
      text.linked = lines;
      text.linkedSet = new Set(lines);
    }
    return text.linked;
  },
  hasLine(text, line) { this.linesIn(text); return text.linkedSet.has(line); },
};

// Search: the lines of every text that hold the words, capitals or not.
const search = {
  words: "",
  find(words) {
    this.words = words.toLowerCase();
    for (const text of data.documents) {
      text.matches = [];
      if (!this.words) continue;
      text.small ??= text.lines.map((line) => line.toLowerCase());
      text.small.forEach((line, number) => { if (line.includes(this.words)) text.matches.push(number); });
    }
  },
  rangesIn(line) {
    const ranges = [];
    const small = line.toLowerCase();
    for (let at = this.words ? small.indexOf(this.words) : -1; at >= 0; at = small.indexOf(this.words, at + this.words.length)) {
      ranges.push([at, at + this.words.length]);
    }
    return ranges;
  },
};
