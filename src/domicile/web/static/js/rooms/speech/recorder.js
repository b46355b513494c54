/** The microphone, by MediaRecorder: nothing is sent until a person asks for the text. */
import { duration, say } from "../../lib/i18n.js";
import { Icon } from "../../lib/icon.js";
import { html, useEffect, useRef, useState } from "../../lib/preact.js";
import { toast } from "../../lib/toast.js";

const KINDS = [
  ["audio/webm;codecs=opus", "webm"],
  ["audio/mp4", "m4a"],
  ["audio/ogg;codecs=opus", "ogg"],
];

/** @param {{take: (file: File) => void}} props */
export function Recorder({ take }) {
  const [since, setSince] = useState(/** @type {number | null} */ (null));
  const [now, setNow] = useState(0);
  const recorder = useRef(/** @type {MediaRecorder | null} */ (null));
  useEffect(() => {
    if (since === null) return;
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, [since]);
  useEffect(() => () => recorder.current?.stream.getTracks().forEach((t) => t.stop()), []);

  const begin = async () => {
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const [type, ending] = KINDS.find(([kind]) => MediaRecorder.isTypeSupported(kind)) ?? ["", "webm"];
      const made = (recorder.current = new MediaRecorder(stream, type ? { mimeType: type } : {}));
      /** @type {Blob[]} */
      const pieces = [];
      made.ondataavailable = (event) => pieces.push(event.data);
      made.onstop = () => {
        stream.getTracks().forEach((t) => t.stop());
        setSince(null);
        take(new File(pieces, `${say("page.speech.recorded")}.${ending}`, { type: made.mimeType }));
      };
      made.start(1000);
      setNow(Date.now());
      setSince(Date.now());
    } catch {
      toast(say("page.speech.no_microphone"), { kind: "bad", hint: say("page.speech.no_microphone.hint") });
    }
  };
  if (!navigator.mediaDevices || !globalThis.MediaRecorder) return html`<p class="small muted">${say("page.speech.no_microphone.hint")}</p>`;
  return since === null
    ? html`<button type="button" class="button" onClick=${begin}><${Icon} name="speech" />${say("page.speech.record")}</button>`
    : html`<button type="button" class="button danger" onClick=${() => recorder.current?.stop()}><${Icon} name="stop" />${say("page.speech.record.stop")}</button>
        <span class="num" role="timer">${duration(Math.max(0, Math.round((now - since) / 1000)))}</span>`;
}
