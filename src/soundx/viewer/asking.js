// What is pressed is sent with the number of the window that was shown: one answer a window.
const OTHERS = { b: "background", u: "unsure", " ": "again", s: "skip", z: "undo", l: "learn" };

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".asking");
  const find = (name) => root.querySelector(name);
  const state = (root.state ??= { window: null, sent: null });
  state.data = data;
  state.send = (kind, label = "") => {
    if (kind === "again") return play();
    // what was answered is gone; until the next one comes there is nothing to answer
    if (state.sent === data.window && kind !== "undo" && kind !== "learn") return;
    if (kind !== "learn") state.sent = data.window;
    find(".said").textContent = "";
    setTriggerValue("pressed", { kind, window: data.window, label, at: Date.now() });
  };

  const sound = find(".sound");
  function play() {
    sound.currentTime = 0;
    sound.play().catch(() => {});
  }
  function follow() {
    const share = sound.duration ? sound.currentTime / sound.duration : 0;
    find(".head").style.left = `calc(${100 * share}% - 1px)`;
    if (!sound.paused) requestAnimationFrame(follow);
  }
  if (!state.isReady) {
    state.isReady = true;
    // who has just typed a name would type answers into it
    const typing = document.activeElement;
    if (typing instanceof HTMLInputElement && typing.type === "text") typing.blur();
    for (const event of ["play", "seeked", "pause", "ended"]) sound.addEventListener(event, follow);
    find(".view").addEventListener("click", (event) => {
      const box = find(".view").getBoundingClientRect();
      if (sound.duration) sound.currentTime = sound.duration * (event.clientX - box.left) / box.width;
      sound.play().catch(() => {});
    });
    for (const button of root.querySelectorAll(".others button")) {
      button.addEventListener("click", () => state.send(button.dataset.kind));
    }
    find(".new").addEventListener("submit", (event) => {
      event.preventDefault();
      const input = find(".new input");
      const label = input.value.trim();
      if (!label) return;
      input.value = "";
      input.blur();
      state.send("label", label);
    });
  }

  const labels = find(".labels");
  labels.replaceChildren(
    ...data.labels.map(({ key, label }) => {
      const button = document.createElement("button");
      button.type = "button";
      if (key) {
        const shown = document.createElement("kbd");
        shown.textContent = key;
        button.append(shown, " ");
      }
      button.append(label);
      button.addEventListener("click", () => state.send("label", label));
      return button;
    }),
  );
  find(".said").textContent = data.said;
  if (state.window !== data.window || state.sound !== data.sound) {
    state.window = data.window;
    state.sound = data.sound;
    find(".mel").src = data.picture;
    sound.src = data.sound;
    play();
  }
  state.sent = state.sent === data.window ? null : state.sent;
  find(".stretch").style.left = `${100 * data.begin}%`;
  find(".stretch").style.right = `${100 * (1 - data.end)}%`;

  const pressed = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const target = event.composedPath()[0];
    // a list that is closed wants no letters, though it has the focus when something was chosen
    const isList = target.getAttribute?.("role") === "combobox";
    const wantsKeys = isList ? target.getAttribute("aria-expanded") === "true" : true;
    if (wantsKeys && target.closest?.("input, textarea, select, [contenteditable]")) {
      if (event.key === "Escape" && root.contains(target)) target.blur();
      return;
    }
    if (event.key === " " && target.closest?.("button, audio, a")) return; // it presses that
    const key = event.key.length === 1 ? event.key.toLowerCase() : "";
    const known = state.data.labels.find((one) => one.key && one.key === key);
    if (key === "n") find(".new input").focus();
    else if (OTHERS[key]) state.send(OTHERS[key]);
    else if (known) state.send("label", known.label);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  // one listener, however often this is drawn; in the capture phase, as Streamlit has keys of its
  // own (r runs, c clears)
  if (document.soundxPressed) document.removeEventListener("keydown", document.soundxPressed, true);
  document.soundxPressed = pressed;
  document.addEventListener("keydown", pressed, true);
  return () => document.removeEventListener("keydown", pressed, true);
}
