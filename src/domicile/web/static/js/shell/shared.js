/** A link that carries a custom model in its fragment: who opened it is shown the form, and decides. */
import { post } from "../lib/api.js";
import { open } from "../lib/dialog.js";
import { say } from "../lib/i18n.js";
import { toast } from "../lib/toast.js";
import { CustomForm } from "./custom.js";

/** Read the fragment of the address, and take it away from there: a reload asks no second time. */
export async function receive() {
  const link = location.hash;
  history.replaceState(history.state, "", location.pathname + location.search);
  await propose(link);
}

/** @param {string} link the whole of it, or its fragment */
export async function propose(link) {
  const { proposed, taken } = await post("/domicile/custom/link", { link });
  if (taken) return toast(say("page.custom.taken", { name: proposed.name }));
  await open(CustomForm, { proposed: Object.fromEntries(Object.entries(proposed).filter(([, value]) => typeof value === "string")) });
}
