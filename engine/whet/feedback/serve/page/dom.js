// Elements from code. Text is only ever set as text: no string becomes markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

// el("p", { class: "note", onclick: act }, "text", child)
export function el(tag, said = {}, ...children) {
  return fill(document.createElement(tag), said, children);
}

export function svg(tag, said = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), said, children);
}

function fill(node, said, children) {
  for (const [name, value] of Object.entries(said)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) {
      node.setAttribute(name, value);
    }
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

export function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}
