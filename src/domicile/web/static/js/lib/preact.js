/** Preact, its hooks and `html` (htm), from one place: the only module that knows their versions. */
import { h, render, Fragment, createContext } from "../../vendor/preact-11.2.0/preact.mjs";
import * as hooks from "../../vendor/preact-11.2.0/hooks.mjs";
import htm from "../../vendor/htm-3.1.1/htm.js";

/** A tagged template that makes Preact's elements: html`<p class=${name}>${words}</p>`. Text in it is text, never markup.
 * @type {(strings: TemplateStringsArray, ...values: any[]) => any} */
export const html = htm.bind(h);

/** @type {<T>(first: T | (() => T)) => [T, (next: T | ((before: T) => T)) => void]} */
export const useState = /** @type {any} */ (hooks).useState;
/** @type {(effect: () => void | (() => void), of?: readonly unknown[]) => void} */
export const useEffect = /** @type {any} */ (hooks).useEffect;
/** @type {(effect: () => void | (() => void), of?: readonly unknown[]) => void} */
export const useLayoutEffect = /** @type {any} */ (hooks).useLayoutEffect;
/** @type {<T>(make: () => T, of: readonly unknown[]) => T} */
export const useMemo = /** @type {any} */ (hooks).useMemo;
/** @type {<T>(made: T, of: readonly unknown[]) => T} */
export const useCallback = /** @type {any} */ (hooks).useCallback;
/** @type {<T>(first: T) => {current: T}} */
export const useRef = /** @type {any} */ (hooks).useRef;
/** @type {() => string} */
export const useId = /** @type {any} */ (hooks).useId;
export { h, render, Fragment, createContext };
