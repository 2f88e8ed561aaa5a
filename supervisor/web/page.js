"use strict";
// The page as it is now takes the place of the one that was, part by part: what did not change is not touched.
(() => {
  const every = 2000;
  const pause = document.getElementById("pause");
  const parts = (from) => new Map([...from.querySelectorAll("[data-live]")].map((part) => [part.dataset.live, part]));
  let paused = false;
  let complaint = "";

  const show = (text) => {
    const time = document.querySelector('[data-live="time"]');
    if (complaint !== text) complaint = time.textContent = text;
  };

  const refresh = async () => {
    if (paused || document.hidden || String(getSelection())) return;
    try {
      const response = await fetch("./", { cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (!response.ok) throw new Error(String(response.status));
      const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
      const now = parts(document);
      for (const [name, part] of parts(fresh)) {
        const old = now.get(name);
        if (!old || old.innerHTML === part.innerHTML) continue;
        const scroll = old.querySelector(".scroll");
        const left = scroll ? scroll.scrollLeft : 0;
        const focused = scroll !== null && scroll === document.activeElement;
        old.replaceChildren(...part.childNodes);
        const after = old.querySelector(".scroll");
        if (after) after.scrollLeft = left;
        if (after && focused) after.focus({ preventScroll: true });
      }
      document.title = fresh.title;
      document.body.dataset.fresh = String(Date.now());
      complaint = "";
    } catch {
      show("The fleet is not reached: this is what it said last.");
    }
  };

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
  });
  const loop = () => refresh().finally(() => setTimeout(loop, every));
  setTimeout(loop, every);
})();
