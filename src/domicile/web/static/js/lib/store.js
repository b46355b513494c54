/** Values that tell when they change: what islands share. */
import { useEffect, useState } from "./preact.js";

/** @template T */
export class Signal {
  /** @param {T} value */
  constructor(value) {
    this.now = value;
    /** @type {Set<(value: T) => void>} */
    this.listeners = new Set();
  }

  get value() {
    return this.now;
  }

  set value(value) {
    if (Object.is(value, this.now)) return;
    this.now = value;
    for (const tell of [...this.listeners]) tell(value);
  }

  /** @param {(value: T) => void} tell @returns {() => void} stops */
  subscribe(tell) {
    this.listeners.add(tell);
    return () => this.listeners.delete(tell);
  }
}

/** @template T @param {T} value @returns {Signal<T>} */
export const signal = (value) => new Signal(value);

/** A signal that this browser keeps between visits, as JSON. @template T @param {string} name @param {T} value @returns {Signal<T>} */
export function kept(name, value) {
  const key = `domicile.${name}`;
  let first = value;
  try {
    first = JSON.parse(localStorage.getItem(key) ?? "null") ?? value;
  } catch {
    /* no storage, or not ours: begin anew */
  }
  const one = signal(first);
  one.subscribe((now) => {
    try {
      localStorage.setItem(key, JSON.stringify(now));
    } catch {
      /* full or forbidden: it holds until the page is left */
    }
  });
  return one;
}

/** The value of a signal in a component, which is drawn again when it changes. @template T @param {Signal<T>} one @returns {T} */
export function use(one) {
  const [, draw] = useState(0);
  useEffect(() => {
    draw((n) => n + 1); // it may have changed between the drawing and now
    return one.subscribe(() => draw((n) => n + 1));
  }, [one]);
  return one.value;
}
