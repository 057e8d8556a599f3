// The console's few lines of script. Every page works without them; with them parts renew themselves and a press that hurts is asked about.
"use strict";
(() => {
  const live = document.querySelectorAll("[data-live]");
  const asOf = document.querySelector("[data-as-of]");
  const pause = document.querySelector("[data-pause]");
  const reload = document.querySelector("[data-reload]");
  let paused = false;
  let failed = false;
  let at = asOf ? asOf.textContent : "";

  const isResting = () => paused || document.hidden;
  const isSelecting = () => {
    const selection = document.getSelection();
    return selection !== null && !selection.isCollapsed;
  };
  const clock = () => new Date().toISOString().slice(11, 19);
  const say = () => {
    asOf.textContent = isResting() ? `Paused. ${at}` : failed ? `No answer. ${at}` : at;
    asOf.parentElement.dataset.state = isResting() ? "paused" : failed ? "failed" : "live";
    pause.textContent = paused ? "Resume" : "Pause";
  };
  const renew = () => live.forEach((part) => htmx.trigger(part, "renew"));

  if (live.length && asOf) {
    pause.hidden = false;
    reload.hidden = true;
    pause.addEventListener("click", () => {
      paused = !paused;
      say();
      document.dispatchEvent(new CustomEvent("console:rest"));
      if (!isResting()) renew();
    });
    document.addEventListener("visibilitychange", () => {
      say();
      document.dispatchEvent(new CustomEvent("console:rest"));
      if (!isResting()) renew();
    });
    say();
  }

  const isLive = (event) => event.target instanceof Element && event.target.hasAttribute("data-live");
  document.addEventListener("htmx:configRequest", (event) => {
    // Nobody did anything: such a request keeps no session alive
    if (isLive(event)) event.detail.headers["X-Console-Poll"] = "1";
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (isLive(event) && (isResting() || isSelecting())) event.preventDefault();
  });
  // What was scrolled to the side stays so; htmx itself gives the focus back to what has an id
  let scrolled = new Map();
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (isLive(event)) scrolled = new Map([...document.querySelectorAll(".scroll[id]")].map((each) => [each.id, each.scrollLeft]));
  });
  document.addEventListener("htmx:afterSettle", () => {
    scrolled.forEach((left, id) => {
      const found = document.getElementById(id);
      if (found && left) found.scrollLeft = left;
    });
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (!isLive(event) || !asOf) return;
    failed = !event.detail.successful;
    if (!failed) at = `As of ${clock()} UTC`;
    say();
  });

  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !window.confirm(question)) event.preventDefault();
  });

  window.seedrouter = { isResting };
})();
