/** What people can set: the theme, the token of this tab, and the kill switch. */

import { post, setToken, token } from "./api.js";
import { clock } from "./format.js";
import { setText } from "./tables.js";

const THEME_KEY = "liqctl.theme";
const THEMES = ["auto", "light", "dark"];
const ASKED = {
  stop: {
    path: "/control/stop",
    title: "Stop signing?",
    text: "Every keeper on this database stops signing within a second or two. What is in flight is settled. Positions that become liquidatable wait until somebody resumes.",
    done: "stop is set; keepers obey within a second or two.",
  },
  resume: {
    path: "/control/resume",
    title: "Resume signing?",
    text: "Keepers on this database sign and send again, also after a signal. A stop file still holds its keeper.",
    done: "resume is set; keepers obey within a second or two.",
  },
};

const $ = (name) => document.getElementById(name);

/** Wire the controls. `onTheme` is called after a change of colours, `onToken` after one of token. */
export function wireControls(onTheme, onToken) {
  wireTheme(onTheme);
  wireToken(onToken);
  wireSwitch();
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.copy");
    if (button) copy(button);
  });
}

/** Show whether the kill switch can be used. */
export function showControls(feed) {
  const usable = token() !== "" && feed.link !== "token" && feed.link !== "offline";
  for (const name of Object.keys(ASKED)) $(name).disabled = !usable;
  $("switch-hint").hidden = usable;
  setText($("switch-hint"), feed.link === "offline" ? "The server does not answer." : "The kill switch needs a token.");
  $("token-needed").hidden = feed.link !== "token";
  setText($("token-problem"), (feed.link === "token" && token() && feed.doubt("health")) || "This server asks for a token.");
}

function wireTheme(onTheme) {
  const root = document.documentElement;
  const show = () => setText($("theme"), `Theme: ${root.dataset.theme ?? "auto"}`);
  $("theme").addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "auto") + 1) % THEMES.length];
    if (next === "auto") delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
      localStorage.setItem(THEME_KEY, next);
    } catch {
      // Storage is switched off: the choice holds until the page is left.
    }
    show();
    onTheme();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", onTheme);
  show();
}

function wireToken(onToken) {
  $("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setToken($("token").value.trim());
    $("token").value = "";
    $("token-state").hidden = token() === "";
    onToken();
  });
  $("token-forget").addEventListener("click", () => {
    setToken("");
    $("token-state").hidden = true;
    onToken();
  });
  $("token-state").hidden = token() === "";
}

/** Ask before anything is done; Escape and "Cancel" leave everything as it is. */
function wireSwitch() {
  const dialog = $("confirm");
  let asked = null;
  for (const [name, question] of Object.entries(ASKED)) {
    $(name).addEventListener("click", () => {
      asked = question;
      setText($("confirm-title"), question.title);
      setText($("confirm-text"), question.text);
      setText($("confirm-yes"), question.title.replace("?", ""));
      dialog.showModal();
    });
  }
  $("confirm-no").addEventListener("click", () => dialog.close());
  $("confirm-yes").addEventListener("click", async () => {
    dialog.close();
    try {
      await post(asked.path);
      setText($("switch-result"), `${clock(Date.now(), Date.now())}: ${asked.done}`);
    } catch (error) {
      setText($("switch-result"), `Nothing was changed: ${error.message}`);
    }
  });
}

async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.text);
    setText($("copied"), "Copied");
  } catch {
    // Without https a browser may refuse; the text can be selected and copied by hand then.
    setText($("copied"), button.dataset.text);
  }
  $("copied").hidden = false;
  setTimeout(() => ($("copied").hidden = true), 4_000);
}
