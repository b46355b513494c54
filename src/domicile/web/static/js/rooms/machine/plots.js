/** The last three minutes of the machine, one reading a second: drawn by uPlot, which comes when somebody looks. */
import { number, percent, say, size } from "../../lib/i18n.js";
import { html, useEffect, useRef, useState } from "../../lib/preact.js";
import { listen } from "../../lib/sse.js";
import { state } from "../../lib/state.js";

const KEPT = 180;
const FOLDER = "vendor/uplot-1.6.32";
/** @typedef {{name: string, label: string, of: (v: any) => number | null, show: (value: number, v: any) => string, most?: (v: any) => number | null}} Curve */

/** @param {any} view @returns {Curve[]} what this machine can tell */
function curvesOf(view) {
  const whole = () => 100;
  const degrees = (/** @type {number} */ v) => say("page.machine.degrees", { t: number(v) });
  /** @type {Curve[]} */
  const all = [
    { name: "cpu", label: say("page.machine.plot.cpu"), of: (v) => v.cpu_percent, show: (v) => percent(v / 100), most: whole },
    { name: "ram", label: say("page.machine.plot.ram"), of: (v) => v.ram_used_bytes, show: (b, v) => say("page.machine.of", { used: b, all: v.ram_bytes }), most: (v) => v.ram_bytes },
    { name: "speed", label: say("page.machine.plot.speed"), of: (v) => v.tokens_per_second, show: (v) => number(v, 1) },
    { name: "heat", label: say("page.machine.plot.heat"), of: (v) => v.cpu_temperature_celsius, show: degrees, most: whole },
  ];
  view.gpus.forEach((/** @type {any} */ gpu, /** @type {number} */ n) => {
    const of = (/** @type {string} */ field) => (/** @type {any} */ v) => v.gpus[n]?.[field] ?? null;
    all.push(
      { name: `gpu${n}`, label: `${gpu.name} · ${say("page.machine.plot.busy")}`, of: of("busy_percent"), show: (v) => percent(v / 100), most: whole },
      { name: `vram${n}`, label: `${gpu.name} · ${say("page.machine.plot.vram")}`, of: of("vram_used_bytes"), show: (b, v) => say("page.machine.of", { used: b, all: v.gpus[n]?.vram_bytes }), most: of("vram_bytes") },
      { name: `hot${n}`, label: `${gpu.name} · ${say("page.machine.plot.heat")}`, of: of("temperature_celsius"), show: degrees, most: whole },
      { name: `watts${n}`, label: `${gpu.name} · ${say("page.machine.plot.power")}`, of: of("power_watts"), show: (w) => `${number(w)} W` },
    );
  });
  return all;
}

export function Plots() {
  const [views, setViews] = useState(/** @type {any[]} */ ([]));
  useEffect(() => {
    let lasting = /** @type {any[]} */ ([]);
    return listen("/domicile/machine/events", { machine: (view) => setViews((lasting = [...lasting, view].slice(-KEPT))) });
  }, []);
  const last = views.at(-1);
  const curves = last ? curvesOf(last) : [];
  const known = curves.filter((c) => c.of(last) !== null);
  const silent = curves.filter((c) => c.of(last) === null);
  return html`<section class="stack" aria-label=${say("page.machine.live")}>
    ${!last && html`<p class="loading" role="status"><span class="spinner" aria-hidden="true"></span>${say("page.shell.loading")}</p>`}
    <div class="plots">${known.map((c) => html`<${Plot} key=${c.name} curve=${c} views=${views} />`)}</div>
    ${silent.length > 0 && html`<p class="small muted">${say("page.machine.silent", { what: silent.map((c) => c.label.toLocaleLowerCase()).join(", ") })}</p>`}
  </section>`;
}

/** @type {Promise<any> | null} */
let coming = null;
function library() {
  coming ??= (async () => {
    const sheet = Object.assign(document.createElement("link"), { rel: "stylesheet", href: `${state.base}/${FOLDER}/uplot.css` });
    document.head.append(sheet);
    return (await import("../../../vendor/uplot-1.6.32/uplot.js")).default;
  })();
  return coming;
}

/** @param {{curve: Curve, views: any[]}} props */
function Plot({ curve, views }) {
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  const chart = useRef(/** @type {any} */ (null));
  const now = /** @type {number} */ (curve.of(views.at(-1)));
  const shown = curve.show(now, views.at(-1));
  const top = curve.most?.(views.at(-1)) ?? null;
  const data = [views.map((v) => v.measured_at), views.map((v) => curve.of(v))];
  const highest = useRef(top);
  highest.current = top;

  useEffect(() => {
    const box = /** @type {HTMLElement} */ (place.current);
    let gone = false;
    /** @type {ResizeObserver | null} */
    let sized = null;
    library().then((Plotter) => {
      if (gone) return;
      const colour = (/** @type {string} */ name) => () => {
        const probe = document.createElement("span"); // a new element, so that no transition is under way on it
        probe.style.color = `var(${name})`;
        box.append(probe);
        const found = getComputedStyle(probe).color;
        probe.remove();
        return found;
      };
      chart.current = new Plotter(
        {
          width: box.clientWidth, height: 88, legend: { show: false }, cursor: { show: false }, padding: [6, 0, 0, 0],
          scales: { x: { range: (/** @type {any} */ _, /** @type {number} */ __, /** @type {number} */ to) => [to - KEPT, to] }, y: { range: (/** @type {any} */ _, /** @type {number} */ __, /** @type {number} */ to) => [0, highest.current ?? Math.max(1, to * 1.15)] } },
          axes: [{ show: false }, { show: false }],
          series: [{}, { stroke: colour("--accent"), fill: colour("--accent-soft"), width: 2, points: { show: false } }],
        },
        data, box,
      );
      sized = new ResizeObserver(() => chart.current.setSize({ width: box.clientWidth, height: 88 }));
      sized.observe(box);
    });
    return () => {
      gone = true;
      sized?.disconnect();
      chart.current?.destroy();
    };
  }, []);
  useEffect(() => chart.current?.setData(data), [views]);
  return html`<figure class="card plot"><figcaption><span class="cut">${curve.label}</span><strong class="num">${shown}</strong></figcaption>
    <div class="plot-place" ref=${place} role="img" aria-label=${say("page.machine.plot", { what: curve.label })}></div></figure>`;
}
