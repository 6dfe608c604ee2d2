// What can be undone and redone, over all queries; kept in the browser, so a reload keeps it.

const LONGEST = 300;

export class History {
  constructor(home) {
    this.key = `whet.${home}.history`;
    const kept = JSON.parse(localStorage.getItem(this.key) ?? "{}");
    this.done = kept.done ?? [];
    this.undone = kept.undone ?? [];
  }

  did(event) {
    this.done.push(event);
    this.done.splice(0, this.done.length - LONGEST);
    this.undone = [];
    this.keep();
  }

  undo() {
    return this.turn(this.done, this.undone);
  }

  redo() {
    return this.turn(this.undone, this.done);
  }

  recall(id) {
    return [...this.done, ...this.undone].find((event) => event.id === id);
  }

  turn(from, to) {
    const event = from.pop();
    if (event) to.push(event);
    this.keep();
    return event;
  }

  keep() {
    localStorage.setItem(this.key, JSON.stringify({ done: this.done, undone: this.undone }));
  }
}
