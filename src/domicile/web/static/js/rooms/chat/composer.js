/** Where one writes: Enter sends, Shift and Enter begins a line; files by button, by drop and by paste; the voice. */
import { say } from "../../lib/i18n.js";
import { places } from "../../engines/index.js";
import { Icon } from "../../lib/icon.js";
import { Menu } from "../../lib/menu.js";
import { open } from "../../lib/dialog.js";
import { html, useEffect, useRef, useState } from "../../lib/preact.js";
import { use } from "../../lib/store.js";
import { report, toast } from "../../lib/toast.js";
import { active, away, choices, refresh } from "../../shell/house.js";
import { choosePlace, placeOf } from "../../shell/place.js";
import { Chips } from "./chips.js";
import { add, attach, coming, isLong, pastedName, ready, taken } from "./files.js";
import { Foot } from "./foot.js";
import { beginning, current, focusWanted, inTab, send, together } from "./room.js";
import { computed } from "./computed.js";

const MOST_TOGETHER = 4;
const DRAFT = "domicile.draft";

/** @param {{answers: boolean}} props `answers`: somebody may answer */
export function Composer({ answers }) {
  const talk = use(current);
  const { temporary } = use(beginning);
  const models = use(together);
  const files = use(coming);
  const [wish, target, all] = [use(focusWanted), use(away), use(choices)];
  const [text, setText] = useState("");
  const [busy, setBusy] = useState(false);
  const place = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  const picker = useRef(/** @type {HTMLInputElement | null} */ (null));
  const here = use(computed);
  const computes = here && here.talk === talk && !here.trouble ? here : null;
  const writing = useWriting(talk) || !!computes;
  const model = use(active);
  use(places);
  const key = `${DRAFT}.${talk?.id ?? "new"}`;
  const keeps = !(talk?.temporary ?? temporary);
  useEffect(() => setText(sessionStorage.getItem(key) ?? ""), [key]);
  useEffect(() => {
    if (matchMedia("(hover: hover)").matches && !document.querySelector("dialog[open]")) place.current?.focus();
  }, [wish]);
  /** @param {string} now */
  const write = (now) => {
    setText(now);
    if (now && keeps) sessionStorage.setItem(key, now);
    else sessionStorage.removeItem(key);
  };
  const submit = async () => {
    if ((!text.trim() && !files.length) || writing || busy || !answers) return;
    setBusy(true);
    try {
      const ids = await ready();
      if (ids?.length && inTab()) return toast(say("page.chat.tab.files"));
      if (ids === null || coming.value.some((one) => one.state === "failed")) return;
      await send(text.trim(), ids);
      taken();
      sessionStorage.removeItem(key);
      setText("");
    } catch (trouble) {
      report(trouble);
    } finally {
      setBusy(false);
    }
  };
  /** @param {KeyboardEvent} event */
  const keys = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  };
  /** @param {ClipboardEvent} event */
  const pasted = (event) => {
    const [found, words] = [[...(event.clipboardData?.files ?? [])], event.clipboardData?.getData("text/plain") ?? ""];
    if (found.length && !words) [event.preventDefault(), add(found)];
    else if (isLong(words)) [event.preventDefault(), attach(new Blob([words], { type: "text/plain" }), pastedName())];
  };
  const chooseTogether = () => {
    const chosen = models.length ? models : active.value ? [active.value.name] : [];
    /** @param {string} name */
    const toggle = (name) => (together.value = chosen.includes(name) ? chosen.filter((m) => m !== name) : [...chosen, name].slice(0, MOST_TOGETHER));
    return (choices.value?.installed ?? []).filter((m) => m.state !== "missing").map((m) => ({ label: m.name, checked: chosen.includes(m.name), run: () => toggle(m.name) }));
  };
  const wheres = () => /** @type {const} */ (["here", "tab"]).map((place) => ({ icon: place === "here" ? "home" : "tab", label: say(`page.selector.place.${place}`), checked: !!model && placeOf(model.name, model.format) === place, run: () => model && choosePlace(model.name, place) }));
  const options = async () => {
    const { Options } = await import("./options.js");
    await open(Options);
  };
  const canSend = (text.trim() || files.length) && answers && !busy;
  return html`<div class="composer-place">
    <form class="composer" onSubmit=${(/** @type {Event} */ e) => (e.preventDefault(), submit())}>
      <${Chips} />
      ${models.length > 1 && html`<div class="chips">${models.map((name) => html`<span class="badge" key=${name}><${Icon} name="columns" />${name}
        <button type="button" class="badge-x" onClick=${() => (together.value = models.filter((m) => m !== name))}><${Icon} name="close" label=${say("page.chat.together.less", { model: name })} /></button></span>`)}</div>`}
      <textarea ref=${place} id="say" rows="1" placeholder=${say("page.chat.placeholder")} aria-label=${say("page.chat.placeholder")} value=${text} enterkeyhint="send"
        onInput=${(/** @type {any} */ e) => write(e.target.value)} onKeyDown=${keys} onPaste=${pasted}></textarea>
      <div class="composer-row">
        <input type="file" multiple hidden ref=${picker} onChange=${(/** @type {any} */ e) => (add(e.target.files), (e.target.value = ""))} />
        <button type="button" class="ghost icon-only" title=${say("page.chat.attach")} onClick=${() => picker.current?.click()}><${Icon} name="attach" label=${say("page.chat.attach")} /></button>
        <${Voice} heard=${(/** @type {string} */ words) => (write(text ? `${text} ${words}` : words), place.current?.focus())} />
        ${(all?.installed.length ?? 0) > 1 && !target && html`<${Menu} icon="columns" small=${false} pressed=${models.length > 1} label=${say("page.chat.together.choose")} items=${chooseTogether} />`}
        ${model && !target && ["gguf", "onnx"].includes(model.format) && html`<${Menu} icon=${inTab() ? "tab" : "home"} small=${false} pressed=${inTab()} label=${say("page.selector.place")} items=${wheres} />`}
        <button type="button" class="ghost icon-only" title=${say("page.chat.options")} onClick=${options}><${Icon} name="sliders" label=${say("page.chat.options")} /></button>
        <span class="grow"></span>
        ${writing
          ? html`<button type="button" class="button round" title=${say("page.chat.stop")} onClick=${() => (computes ? computes.leave.abort() : talk?.stop().catch(report))}><${Icon} name="stop" label=${say("page.chat.stop")} /></button>`
          : html`<button type="submit" class="button primary round" title=${say("page.chat.send")} disabled=${!canSend}><${Icon} name="send" label=${say("page.chat.send")} /></button>`}
      </div>
    </form>
    <${Foot} talk=${talk} />
  </div>`;
}

/** @param {{heard: (words: string) => void}} props */
function Voice({ heard }) {
  const [going, setGoing] = useState(/** @type {{end: () => Promise<string>} | null} */ (null));
  const [hears, setHears] = useState(false);
  const press = async () => {
    if (!going) {
      const { record } = await import("./voice.js");
      const stop = await record().catch((trouble) => (report(trouble), null));
      return setGoing(stop && { end: stop });
    }
    setGoing(null);
    setHears(true);
    await going.end().then(heard, report);
    setHears(false);
  };
  const label = say(going ? "page.chat.voice.end" : hears ? "page.chat.voice.hears" : "page.chat.voice");
  return html`<button type="button" class="ghost icon-only ${going ? "is-recording" : ""}" aria-pressed=${!!going} disabled=${hears} title=${label} onClick=${press}>
    ${hears ? html`<span class="spinner" role="img" aria-label=${label}></span>` : html`<${Icon} name=${going ? "stop" : "speech"} label=${label} />`}</button>`;
}

/** Is an answer of this conversation being written? @param {import("./conversation.js").Conversation | null} talk */
function useWriting(talk) {
  const [, draw] = useState(0);
  useEffect(() => {
    refresh().catch(() => {}); // the header says that the house is away
    return talk?.messages.subscribe(() => draw((n) => n + 1));
  }, [talk]);
  return !!talk?.writing.length;
}
