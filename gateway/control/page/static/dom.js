// Elements from data. Text is only ever set as text: names and errors come from engines and clients, and may be hostile.

/** Make an element. `attributes` are set as they are; `on` holds listeners; children are nodes or text. */
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    } else if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? "" : value);
    }
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Set a text, unless it is the same: what is selected or focused stays so. */
export function setText(node, text) {
  const wanted = text === null || text === undefined ? "" : String(text);
  if (node.textContent !== wanted) node.textContent = wanted;
}

export function setAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/**
 * A list in the page that follows a list of data. `create(item)` makes an element with an `update(item)` of its own;
 * elements of items that stay are kept, so that the focus and what is selected survive each look at the gateway.
 */
export class Keyed {
  constructor(parent, keyOf, create) {
    this.parent = parent;
    this.keyOf = keyOf;
    this.create = create;
    this.known = new Map();
  }

  update(items) {
    const wanted = new Map(items.map((item) => [this.keyOf(item), item]));
    for (const [key, node] of this.known) {
      if (wanted.has(key)) continue;
      node.remove();
      this.known.delete(key);
    }
    let at = this.parent.firstElementChild;
    for (const [key, item] of wanted) {
      if (!this.known.has(key)) this.known.set(key, this.create(item));
      const node = this.known.get(key);
      node.update(item);
      if (node === at) at = at.nextElementSibling;
      else this.parent.insertBefore(node, at);
    }
  }
}

/** A table with a caption for screen readers, in a box of its own that scrolls sideways where it is narrow. */
export function table(caption, headings) {
  const body = make("tbody");
  const node = make(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": caption },
    make(
      "table",
      {},
      make("caption", { class: "unseen" }, caption),
      make("thead", {}, make("tr", {}, ...headings.map((heading) => (heading.node ? heading.node : make("th", { scope: "col", class: heading.number ? "number" : null }, heading.text ?? heading))))),
      body,
    ),
  );
  return { node, body };
}

/** A row of cells, each `{ class, get }` or `{ class, fill }`: a text of the item, or a function that fills the cell. */
export function row(cells) {
  const nodes = cells.map((cell) => make(cell.heading ? "th" : "td", { class: cell.class, scope: cell.heading ? "row" : null }));
  const node = make("tr", {}, ...nodes);
  node.update = (item) => {
    cells.forEach((cell, at) => {
      if (cell.fill) cell.fill(nodes[at], item);
      else setText(nodes[at], cell.get(item));
    });
  };
  return node;
}

/** A section with a heading of its own. */
export function section(title, ...children) {
  const id = `s-${title.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
  return make("section", { "aria-labelledby": id }, make("h2", { id }, title), ...children);
}
