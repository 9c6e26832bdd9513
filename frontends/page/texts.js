// A pane of texts: tabs, and the lines in view of the chosen one (a program may have tens of thousands).

const COPY = "M5 5h8v8h-8z M3 10.5v-8h8";
const GROW = "M9 3h4v4 M13 3l-4.5 4.5 M7 13h-4v-4 M3 13l4.5 -4.5";
const ROW = 19;
const BEYOND = 20;  // rows kept outside the view, so that scrolling shows no gaps

// A picture of 16 by 16, by its strokes.
function icon(strokes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of Object.entries({ viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": true })) made.setAttribute(name, value);
  made.innerHTML = `<path d="${strokes}" fill="none" stroke="currentColor" stroke-width="1.4"/>`;
  return made;
}

class TextPane {
  constructor(name, title, texts) {
    this.name = name;
    this.texts = texts;
    this.rows = new Map();
    this.active = 0;
    this.under = -1;
    this.word = "";
    this.tabs = element("div", { role: "tablist", "aria-label": `${title}: stages` });
    this.groups = element("div", { role: "tablist", "aria-label": `${title}: programs`, class: "groups" });
    this.copy = element("button", { type: "button", title: "copy this text", "aria-label": "copy this text" }, icon(COPY));
    this.grow = element("button", { type: "button", title: "this pane alone (f)", "aria-label": "this pane alone" }, icon(GROW));
    this.sheet = element("div", { class: "sheet" });
    this.list = element("div", { class: "lines", role: "listbox", tabindex: 0, "aria-label": title, id: `lines-${name}` }, this.sheet);
    this.ruler = element("canvas", { class: "ruler", "aria-hidden": "true" });
    this.root = element("section", { class: "pane", id: `pane-${name}`, "aria-label": title },
      element("div", { class: "top" }, element("h2", {}, title), this.groups, this.tabs, element("div", { class: "end" }, this.copy, this.grow)),
      element("div", { class: "body" }, this.list, this.ruler));
    this.group = texts[0]?.group;
    this.copy.hidden = !navigator.clipboard;
    this.copy.onclick = async () => {
      await navigator.clipboard.writeText(this.text.text);
      this.copy.textContent = "copied";
      setTimeout(() => this.copy.replaceChildren(icon(COPY)), 1200);
    };
    this.list.onscroll = () => this.render();
    this.list.onmousemove = (event) => this.point(this.lineAt(event), event.target);
    this.list.onmouseleave = () => this.point(-1);
    this.list.onclick = (event) => { if (String(getSelection()) === "") this.choose(this.lineAt(event)); };
    this.list.onfocus = () => this.restyle();
    new ResizeObserver(() => this.render()).observe(this.list);
    links.listeners.push((reveal) => this.linked(reveal));
  }

  // Once the pane stands in the page and has a size.
  open() { this.show(this.texts[0]); }

  get focus() { return this.list; }

  show(text, reveal = links.held.spots.length > 0) {
    if (!text) return;
    this.text = text;
    this.group = text.group;
    this.active = Math.min(this.active, text.lines.length - 1);
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
    this.sheet.style.height = `${text.lines.length * ROW}px`;
    this.sheet.style.width = `max(100%, ${text.longest + 24}ch)`;
    this.list.scrollTo(0, Math.max(0, text.sets.findIndex((set) => set > 0) - 3) * ROW);
    this.drawTabs();
    this.render();
    this.drawRuler();
    if (reveal && links.linesIn(text).length) this.scrollTo(this.active = links.linesIn(text)[0], true);
    this.restyle();
  }

  drawTabs() {
    const tab = (label, selected, count, act) => {
      const made = element("button", { type: "button", role: "tab", "aria-selected": selected, "aria-controls": this.list.id, tabindex: selected ? 0 : -1 }, label);
      if (count) made.append(element("span", { class: "count", "aria-label": `${count} found` }, count));
      made.onclick = act;
      return made;
    };
    const found = (texts) => texts.reduce((sum, text) => sum + text.matches.length, 0);
    const groups = [...new Set(this.texts.map((text) => text.group))].filter(Boolean);
    this.groups.replaceChildren(...groups.map((group) => tab(group, group === this.group, 0,
      () => this.show(this.texts.find((text) => text.group === group && text.title === this.text.title) ?? this.texts.find((text) => text.group === group)))));
    this.groups.hidden = groups.length < 2;
    const shown = this.texts.filter((text) => text.group === this.group);
    this.tabs.replaceChildren(...shown.map((text) => tab(text.title, text === this.text, found([text]), () => this.show(text))));
    this.tabs.querySelector("[aria-selected=true]").scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  step(by) {
    const shown = this.texts.filter((text) => text.group === this.group);
    this.show(shown[(shown.indexOf(this.text) + by + shown.length) % shown.length]);
  }

  lineAt(event) {
    const line = Math.floor((event.clientY - this.sheet.getBoundingClientRect().top) / ROW);
    return line < this.text.lines.length ? line : -1;
  }

  point(line, target) {
    const word = target?.classList?.contains("t-value") ? target.textContent : "";
    if (line === this.under && word === this.word) return;
    this.under = line;
    this.word = word;
    this.restyle();
    links.point(line < 0 ? 0 : this.text.sets[line], this.text.group);
  }

  choose(line) {
    if (line < 0) return;
    this.active = line;
    this.holding = true;  // the line is in view here already
    links.hold(this.text.sets[line], this.text.group);
    this.holding = false;
    say(this.text.sets[line], this.text, line);
  }

  move(line) {
    this.active = Math.max(0, Math.min(line, this.text.lines.length - 1));
    this.scrollTo(this.active, false);
    this.render();
    this.restyle();
    links.point(this.text.sets[this.active], this.text.group);
    say(this.text.sets[this.active], this.text, this.active);
  }

  // The next line, from the active one, that was found; or else that is linked.
  jump(by) {
    const lines = this.text.matches.length ? this.text.matches : links.linesIn(this.text);
    if (!lines.length) return;
    const next = by > 0 ? lines.find((line) => line > this.active) ?? lines[0]
      : lines.findLast((line) => line < this.active) ?? lines.at(-1);
    this.active = next;
    this.scrollTo(next, true);
    this.restyle();
    say(this.text.sets[next], this.text, next);
  }

  scrollTo(line, middle) {
    const top = line * ROW;
    const height = this.list.clientHeight;
    if (top < this.list.scrollTop || top + ROW > this.list.scrollTop + height) {
      this.list.scrollTop = middle ? top - height / 3 : top < this.list.scrollTop ? top : top + ROW - height;
    }
    this.render();
  }

  linked(reveal) {
    this.restyle();
    this.drawRuler();
    if (reveal && !this.holding) this.reveal();
  }

  reveal() {
    const alike = this.texts.filter((text) => text.title === this.text.title && links.linesIn(text).length);
    const text = alike.find((each) => each.group === links.held.direction) ?? (alike.includes(this.text) ? this.text : alike[0]);
    if (!text) return;
    if (text !== this.text) this.show(text, false);
    const lines = links.linesIn(text);
    this.active = lines[0];
    this.scrollTo(lines[0], true);
    this.restyle();
  }

  render() {
    const first = Math.max(0, Math.floor(this.list.scrollTop / ROW) - BEYOND);
    const last = Math.min(this.text.lines.length, Math.ceil((this.list.scrollTop + this.list.clientHeight) / ROW) + BEYOND);
    for (const [line, row] of this.rows) {
      if (line < first || line >= last) { row.remove(); this.rows.delete(line); }
    }
    const fresh = [];
    for (let line = first; line < last; line++) {
      if (!this.rows.has(line)) fresh.push(this.row(line));
    }
    this.sheet.append(...fresh);
  }

  row(line) {
    const row = element("div", { role: "option", id: `${this.name}-${line}`, "aria-posinset": line + 1, "aria-setsize": this.text.lines.length });
    row.style.top = `${line * ROW}px`;
    this.rows.set(line, row);
    this.fill(row, line);
    this.style(row, line);
    return row;
  }

  fill(row, line) {
    const { text } = this;
    const underlines = this.expressions(line);
    row.underlined = String(underlines);
    const time = text.times ? timeCell(text.times[line + text.first], text.total) : "";
    row.innerHTML = `<span class="no">${line + text.first}</span>${time}<span class="edge"></span>`
      + colouredLine(text.lines[line], text.language, search.rangesIn(text.lines[line]), underlines);
  }

  style(row, line) {
    const set = this.text.sets[line];
    const linked = links.hasLine(this.text, line);
    row.className = `row ${directionOf[set]}${linked ? "linked " : ""}${line === this.under ? "under " : ""}${line === this.active ? "active" : ""}`;
    row.setAttribute("aria-selected", linked);
    for (const value of row.querySelectorAll(".same")) value.classList.remove("same");
    if (this.word) for (const value of row.querySelectorAll(".t-value")) if (value.textContent === this.word) value.classList.add("same");
    if (String(this.expressions(line)) !== row.underlined) this.fill(row, line);
  }

  // Where in a line of Python the expressions stand that are looked at.
  expressions(line) {
    const { text } = this;
    if (text.language !== "python") return [];
    return links.spots.map((spot) => data.spots[spot])
      .filter(([file, number, column, end]) => file === text.file && number === line + text.first && end > column)
      .map(([, , column, end]) => [column - 1, end - 1]);
  }

  restyle() {
    for (const [line, row] of this.rows) this.style(row, line);
    if (this.rows.has(this.active)) this.list.setAttribute("aria-activedescendant", `${this.name}-${this.active}`);
    else this.list.removeAttribute("aria-activedescendant");
  }

  searched() {
    for (const [line, row] of this.rows) this.fill(row, line);
    this.restyle();
    this.drawTabs();
    this.drawRuler();
  }

  drawRuler() {
    const { clientHeight: height } = this.list;
    this.ruler.width = 10;
    this.ruler.height = height;
    const pen = this.ruler.getContext("2d");
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);
    const count = this.text.lines.length;
    const mark = (lines, paint, left, width) => {
      pen.fillStyle = paint;
      for (const line of lines) pen.fillRect(left, (line / count) * height, width, Math.max(2, height / count));
    };
    const linked = links.linesIn(this.text);
    mark(linked.filter((line) => directionOf[this.text.sets[line]].includes("forward")), colour("--forward"), 2, 4);
    mark(linked.filter((line) => directionOf[this.text.sets[line]].includes("backward")), colour("--backward"), 4, 4);
    mark(this.text.matches, colour("--match"), 0, 3);
  }
}

// A line's time: a bar, as long as its part of the whole, and the number.
function timeCell(seconds, total) {
  if (!seconds) return '<span class="time"></span>';
  const width = Math.max(1, 100 * seconds / total);
  return `<span class="time" title="${(100 * seconds / total).toFixed(1)} % of the time"><i style="width:${width.toFixed(1)}%"></i>${duration(seconds)}</span>`;
}

function duration(seconds) {
  for (const [unit, size] of [["s", 1], ["ms", 1e-3], ["µs", 1e-6]]) {
    if (seconds >= size) return `${Number((seconds / size).toPrecision(3))} ${unit}`;
  }
  return `${Number((seconds / 1e-9).toPrecision(3))} ns`;
}
