/** Preact, its hooks and `html` (htm), from one place: the only module that knows their versions. */
import { h, render, Fragment, createContext } from "../../vendor/preact-11.2.0/preact.mjs";
import { useEffect, useLayoutEffect, useMemo, useRef, useState, useCallback, useId } from "../../vendor/preact-11.2.0/hooks.mjs";
import htm from "../../vendor/htm-3.1.1/htm.js";

/** A tagged template that makes Preact's elements: html`<p class=${name}>${words}</p>`. Text in it is text, never markup.
 * @type {(strings: TemplateStringsArray, ...values: any[]) => any} */
export const html = htm.bind(h);
export { h, render, Fragment, createContext, useEffect, useLayoutEffect, useMemo, useRef, useState, useCallback, useId };
