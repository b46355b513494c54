/** Every setting of the house, with where its value comes from; changed in config.toml. */
import { patch } from "../../lib/api.js";
import { duration, number, say, size } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { Shown, Trouble, useApi } from "../../lib/load.js";
import { html, useId, useState } from "../../lib/preact.js";
import { toast } from "../../lib/toast.js";

const GROUPS = {
  door: ["host", "port", "api_key", "session_idle", "session_life", "allowed_hosts", "allowed_origins", "body_limit", "lang"],
  answers: ["context", "context_overflow", "keep_alive", "wake_timeout", "slots", "threads", "engine_memory", "models_memory", "llama_build", "queue", "queue_wait", "answer_limit", "selftest"],
  network: ["offline", "strategy", "first_token", "hub", "hub_token", "ollama_registry", "connect_timeout", "read_timeout", "downloads", "download_limit", "download_hours", "webhook", "notices"],
  folders: ["download_roots", "model_folders", "watch", "hf_home", "hf_cache", "ollama_models", "ollama_host", "ollama_elsewhere", "llama_cache", "wheels", "torch_index", "torch_build", "llama_server", "conversation_cache", "attachments"],
};

export function House() {
  const loaded = useApi("/domicile/settings");
  const [changed, setChanged] = useState(/** @type {any} */ (null));
  return html`<${Shown} of=${loaded}>${(/** @type {any} */ first) => {
    const now = changed ?? first;
    const named = new Set(Object.values(GROUPS).flat());
    const rest = now.settings.filter((/** @type {any} */ s) => !named.has(s.name)).map((/** @type {any} */ s) => s.name);
    const waiting = now.settings.filter((/** @type {any} */ s) => s.waits);
    return html`<p class="muted">${say("page.settings.file")} <code>${now.file}</code></p>
      ${waiting.length > 0 && html`<div class="note warn" role="status"><${Icon} name="warn" /><span>${say("page.settings.restart", { names: waiting.map((/** @type {any} */ s) => s.name).join(", ") })}</span></div>`}
      ${[...Object.entries(GROUPS), ["other", rest]].map(([group, names]) => html`<section class="card" key=${group}><h2>${say(`page.settings.group.${group}`)}</h2>
        <ul class="list settings-list">${now.settings.filter((/** @type {any} */ s) => names.includes(s.name)).map((/** @type {any} */ s) => html`<${One} key=${s.name} s=${s} told=${setChanged} />`)}</ul></section>`)}`;
  }}<//>`;
}

/** What stands between backticks is to be typed as it is. @param {string} text */
const marked = (text) => text.split("`").map((part, n) => (n % 2 ? html`<code>${part}</code>` : part));

/** A value in the words of people. @param {any} s @param {any} value */
function shown(s, value) {
  if (s.secret) return s.given ? say("page.settings.secret") : say("page.settings.unset");
  if (value === "" || value === null || (Array.isArray(value) && value.length === 0)) return say("page.settings.unset");
  if (value === "forever") return say("page.settings.forever");
  if (s.kind === "flag") return say(value ? "page.settings.yes" : "page.settings.no");
  if (s.kind === "duration" && value >= 172800) return say("page.settings.days", { n: value / 86400 });
  if (s.kind === "duration") return value < 1 ? `${number(value, 3)} s` : duration(value);
  if (s.kind === "bytes" || s.kind === "rate") return value === 0 ? say(s.kind === "rate" ? "page.settings.unset" : "page.settings.chosen") : size(value);
  if (value === 0 && (s.name === "slots" || s.name === "threads")) return say("page.settings.chosen");
  if (s.kind === "number" && s.name !== "port") return number(value);
  return Array.isArray(value) ? value.join(", ") : String(value);
}

/** @param {{s: any, told: (now: any) => void}} props */
function One({ s, told }) {
  const [open, setOpen] = useState(false);
  const [error, setError] = useState(/** @type {any} */ (null));
  const id = useId();
  /** @param {any} value */
  const save = async (value) => {
    setError(null);
    try {
      told(await patch("/domicile/settings", { [s.name]: value }));
      setOpen(false);
      toast(say("page.settings.saved", { name: s.name }), { kind: "good" });
    } catch (trouble) {
      setError(trouble);
    }
  };
  /** @param {SubmitEvent} event */
  const submit = (event) => {
    event.preventDefault();
    const said = String(new FormData(/** @type {HTMLFormElement} */ (event.currentTarget)).get("value") ?? "");
    save(s.kind === "flag" ? said === "true" : s.kind === "list" ? said.split(",").map((x) => x.trim()).filter(Boolean) : said);
  };
  const options = s.kind === "flag" ? ["true", "false"] : s.options;
  const typed = s.secret ? "" : Array.isArray(s.value) ? s.value.join(", ") : String(s.value ?? "");
  return html`<li class="wrap"><div class="grow"><code id="${id}n">${s.name}</code> ${s.waits && html`<span class="badge warn">${say("page.settings.waits")}</span>`}<p class="small muted">${marked(s.text)}</p></div>
    <div class="setting-value"><strong class="cut">${shown(s, s.value)}</strong><span class="small muted">${say(`page.settings.from.${s.where}`, { env: s.env })}</span></div>
    <button type="button" class="ghost icon-only" disabled=${!s.editable} aria-expanded=${open ? "true" : "false"} onClick=${() => setOpen(!open)}><${Icon} name="edit" label=${say("page.settings.change", { name: s.name })} /></button>
    ${open && html`<form class="setting-form row" onSubmit=${submit}>
      ${options.length ? html`<select class="input grow" name="value" aria-labelledby="${id}n">${options.map((/** @type {string} */ o) => html`<option key=${o} value=${o} selected=${o === typed}>${o === "true" ? say("page.settings.yes") : o === "false" ? say("page.settings.no") : o || say("page.settings.unset")}</option>`)}</select>`
        : html`<input class="input grow" name="value" aria-labelledby="${id}n" type=${s.secret ? "password" : "text"} defaultValue=${typed} autocomplete="off" spellcheck=${false} />`}
      <button class="button primary small">${say("page.settings.save")}</button>
      ${s.where === "file" && html`<button type="button" class="button small" onClick=${() => save(null)}>${say("page.settings.default")}</button>`}
      ${error && html`<div class="full"><${Trouble} error=${error} /></div>`}</form>`}</li>`;
}
