// Dragging a result by its handle, with a mouse, a pen or a finger.

const EDGE = 70; // pixels from the window's edge in which it scrolls
const SPEED = 14; // pixels a frame

// `drop(doc_id, place)` is called when a result was let go at another place.
export function makeDraggable(list, drop) {
  let drag = null;

  list.addEventListener("pointerdown", (event) => {
    const handle = event.target.closest(".handle");
    if (!handle || event.button !== 0 || drag) return;
    event.preventDefault(); // no text is selected
    const node = handle.closest(".result");
    const nodes = [...list.children];
    const boxes = nodes.map((one) => one.getBoundingClientRect());
    const from = nodes.indexOf(node);
    drag = {
      node, nodes, from, place: from,
      pointer: event.pointerId,
      middles: boxes.map((box) => box.top + scrollY + box.height / 2),
      height: boxes[from].height,
      start: event.clientY + scrollY,
      at: event.clientY,
    };
    handle.setPointerCapture(event.pointerId);
    handle.focus();
    node.classList.add("dragged");
    list.classList.add("dragging");
    drag.frame = requestAnimationFrame(scroll);
  });

  list.addEventListener("pointermove", (event) => {
    if (drag?.pointer !== event.pointerId) return;
    drag.at = event.clientY;
    follow();
  });
  list.addEventListener("pointerup", (event) => end(event, true));
  list.addEventListener("pointercancel", (event) => end(event, false));
  addEventListener("keydown", (event) => {
    if (drag && event.key === "Escape") end({ pointerId: drag.pointer }, false);
  });

  function follow() {
    const by = drag.at + scrollY - drag.start;
    const middle = drag.middles[drag.from] + by;
    drag.place = drag.middles.filter((one, at) => at !== drag.from && one < middle).length;
    drag.node.style.transform = `translateY(${by}px)`;
    drag.nodes.forEach((node, at) => {
      if (at === drag.from) return;
      const up = at > drag.from && at <= drag.place;
      const down = at < drag.from && at >= drag.place;
      node.style.transform = up || down ? `translateY(${up ? -drag.height : drag.height}px)` : "";
    });
  }

  function scroll() {
    if (!drag) return;
    const by = drag.at < EDGE ? -SPEED : drag.at > innerHeight - EDGE ? SPEED : 0;
    if (by) {
      scrollBy(0, by);
      follow();
    }
    drag.frame = requestAnimationFrame(scroll);
  }

  function end(event, dropped) {
    if (drag?.pointer !== event.pointerId) return;
    const { node, nodes, from, place, frame } = drag;
    drag = null;
    cancelAnimationFrame(frame);
    for (const one of nodes) one.style.transform = "";
    node.classList.remove("dragged");
    list.classList.remove("dragging");
    if (dropped && place !== from) drop(node.dataset.id, place);
  }
}
