/** Words said aloud: recorded here, written down by a model of this house, put where one writes. */
import { toast } from "../../lib/toast.js";
import { say } from "../../lib/i18n.js";
import { listener, transcribed } from "./files.js";

/** Begin to record. Null, and a calm word, where nobody here hears or there is no microphone.
 * @returns {Promise<(() => Promise<string>) | null>} ends the recording, and gives its words */
export async function record() {
  const model = await listener();
  if (!model) return toast(say("page.chat.voice.none"), { hint: say("page.chat.voice.none.hint") }), null;
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch {
    return toast(say("page.chat.voice.refused"), { kind: "bad", hint: say("page.chat.voice.refused.hint") }), null;
  }
  /** @type {Blob[]} */
  const pieces = [];
  const recorder = new MediaRecorder(stream);
  recorder.addEventListener("dataavailable", ({ data }) => pieces.push(data));
  recorder.start();
  return async () => {
    const stopped = new Promise((resolve) => recorder.addEventListener("stop", resolve));
    recorder.stop();
    await stopped;
    for (const track of stream.getTracks()) track.stop();
    const kind = recorder.mimeType.includes("mp4") ? "m4a" : recorder.mimeType.includes("ogg") ? "ogg" : "webm";
    return (await transcribed(new Blob(pieces, { type: recorder.mimeType }), `voice.${kind}`, model)).trim();
  };
}
