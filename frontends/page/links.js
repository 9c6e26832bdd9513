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

// What is held (clicked) and what is pointed at; the latter is shown while there is something under the pointer.
const links = {
  held: [], under: [], direction: "", listeners: [], version: 0,
  get spots() { return this.under.length ? this.under : this.held; },
  hold(set) {
    this.held = related(set);
    this.under = [];
    this.direction = directionOf[set].trim();
    this.changed(true);
  },
  point(set) {
    const spots = related(set);
    if (spots.length === this.under.length && spots.every((spot, i) => spot === this.under[i])) return;
    this.under = spots;
    this.changed(false);
  },
  release() { this.held = []; this.under = []; this.changed(false); },
  changed(reveal) { this.version += 1; for (const listener of this.listeners) listener(reveal); },
  has(set) {
    const spots = this.spots;
    return spots.length > 0 && spotsOf[set].some((spot) => spots.includes(spot));
  },
  linesIn(text) {
    if (text.linkedAt !== this.version) {
      text.linkedAt = this.version;
      text.linked = [...new Set(this.spots.flatMap((spot) => text.index.get(spot) ?? []))].sort((a, b) => a - b);
    }
    return text.linked;
  },
};

// Search: the lines of every text that hold the words, capitals or not.
const search = {
  words: "",
  find(words) {
    this.words = words.toLowerCase();
    for (const text of data.documents) {
      text.matches = [];
      if (this.words) text.lines.forEach((line, number) => {
        if (line.toLowerCase().includes(this.words)) text.matches.push(number);
      });
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
