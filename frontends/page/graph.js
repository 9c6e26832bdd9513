// The drawing: boxes linked with the texts, zoomed by wheel or keys, moved by dragging.

class GraphPane {
  constructor(name, title, drawing) {
    this.name = name;
    this.zoom = 1;
    this.active = -1;
    this.svg = drawing.querySelector("svg");
    this.svg.setAttribute("role", "presentation");
    this.size = this.svg.viewBox.baseVal;
    this.boxes = [...this.svg.querySelectorAll("g.box")].sort((a, b) => a.dataset.box - b.dataset.box);
    this.arrows = [...this.svg.querySelectorAll("path.arrow")];
    const button = (label, hint, act) => {
      const made = element("button", { type: "button", title: hint, "aria-label": hint }, label);
      made.onclick = act;
      return made;
    };
    this.grow = button(icon(GROW), "this pane alone (f)", () => {});
    this.view = element("div", { class: "graph", role: "listbox", tabindex: 0, "aria-label": title, id: `lines-${name}` }, this.svg);
    this.root = element("section", { class: "pane", id: `pane-${name}`, "aria-label": title },
      element("div", { class: "top" }, element("h2", {}, title), element("div", { class: "end" },
        button("−", "smaller (-)", () => this.scale(this.zoom / 1.25)), button("+", "larger (+)", () => this.scale(this.zoom * 1.25)),
        button("fit", "all of it (0)", () => this.fit()), this.grow)),
      element("div", { class: "body" }, this.view));
    this.boxes.forEach((box, number) => {
      box.id = `${name}-${number}`;
      box.setAttribute("role", "option");
      box.setAttribute("aria-label", box.querySelector("title").textContent);
      box.onmouseenter = () => { links.point(Number(box.dataset.set)); this.near(number); };
      box.onmouseleave = () => { links.point(0); this.near(-1); };
    });
    this.view.onclick = (event) => {
      const box = event.target.closest?.("g.box");
      if (box && !this.dragged) this.choose(this.boxes.indexOf(box));
    };
    this.view.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.scale(this.zoom * Math.exp(-event.deltaY / 300), event);
    }, { passive: false });
    this.view.onpointerdown = (event) => this.drag(event);
    links.listeners.push((reveal) => this.linked(reveal));
  }

  get focus() { return this.view; }

  scale(zoom, at) {
    const before = this.zoom;
    const box = this.view.getBoundingClientRect();
    const x = at ? at.clientX - box.left : this.view.clientWidth / 2;
    const y = at ? at.clientY - box.top : this.view.clientHeight / 2;
    const left = (this.view.scrollLeft + x) / before;
    const top = (this.view.scrollTop + y) / before;
    this.zoom = Math.max(0.05, Math.min(4, zoom));
    this.svg.setAttribute("width", this.size.width * this.zoom);
    this.svg.setAttribute("height", this.size.height * this.zoom);
    this.view.scrollTo(left * this.zoom - x, top * this.zoom - y);
  }

  fit() { this.scale(Math.min(this.view.clientWidth / this.size.width, this.view.clientHeight / this.size.height, 1.4)); }

  // At first the width is filled as far as the writing stays readable.
  open() {
    this.scale(Math.max(0.62, Math.min(1, this.view.clientWidth / this.size.width)));
    this.view.scrollTo(0, 0);
  }

  drag(event) {
    if (event.button !== 0) return;
    const start = [event.clientX, event.clientY, this.view.scrollLeft, this.view.scrollTop];
    this.dragged = false;
    const move = (next) => {
      const [dx, dy] = [next.clientX - start[0], next.clientY - start[1]];
      if (Math.abs(dx) + Math.abs(dy) > 4) { this.dragged = true; this.view.classList.add("dragging"); }
      if (this.dragged) this.view.scrollTo(start[2] - dx, start[3] - dy);
    };
    const stop = () => {
      removeEventListener("pointermove", move);
      removeEventListener("pointerup", stop);
      this.view.classList.remove("dragging");
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", stop);
  }

  choose(number) {
    this.active = number;
    this.holding = true;
    links.hold(Number(this.boxes[number].dataset.set));
    this.holding = false;
    this.near(number);
    say(Number(this.boxes[number].dataset.set));
  }

  move(number) {
    this.active = Math.max(0, Math.min(number, this.boxes.length - 1));
    links.point(Number(this.boxes[this.active].dataset.set));
    this.near(this.active);
    this.scrollTo(this.active);
    say(Number(this.boxes[this.active].dataset.set));
  }

  jump(by) {
    const marked = this.boxes.filter((box) => box.classList.contains(search.words ? "match" : "linked"));
    if (!marked.length) return;
    const numbers = marked.map((box) => Number(box.dataset.box));
    this.active = by > 0 ? numbers.find((number) => number > this.active) ?? numbers[0] : numbers.findLast((number) => number < this.active) ?? numbers.at(-1);
    this.near(this.active);
    this.scrollTo(this.active);
  }

  step() {}

  scrollTo(number) {
    const box = this.boxes[number].getBoundingClientRect();
    const view = this.view.getBoundingClientRect();
    if (box.left < view.left || box.right > view.right || box.top < view.top || box.bottom > view.bottom) {
      this.view.scrollBy(box.left + box.width / 2 - view.left - view.width / 2, box.top + box.height / 2 - view.top - view.height / 2);
    }
  }

  // Emphasise a box's arrows and the boxes at their other ends.
  near(number) {
    const near = new Set();
    for (const arrow of this.arrows) {
      const touches = number >= 0 && (Number(arrow.dataset.from) === number || Number(arrow.dataset.to) === number);
      arrow.classList.toggle("near", touches);
      if (touches) near.add(Number(arrow.dataset.from)).add(Number(arrow.dataset.to));
    }
    this.boxes.forEach((box, i) => {
      box.classList.toggle("near", near.has(i) || i === number);
      box.classList.toggle("active", i === this.active);
    });
    if (this.active >= 0) this.view.setAttribute("aria-activedescendant", this.boxes[this.active].id);
  }

  linked(reveal) {
    let first = -1;
    this.boxes.forEach((box, number) => {
      const linked = links.has(Number(box.dataset.set));
      box.classList.toggle("linked", linked);
      box.setAttribute("aria-selected", linked);
      if (linked && first < 0) first = number;
    });
    this.svg.classList.toggle("some", first >= 0);
    if (reveal && !this.holding && first >= 0) { this.active = first; this.near(-1); this.scrollTo(first); }
  }

  render() {}

  searched() {
    for (const box of this.boxes) {
      box.classList.toggle("match", search.words !== "" && box.textContent.toLowerCase().includes(search.words));
    }
  }

  drawRuler() {}
}
