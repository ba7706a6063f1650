"use strict";
// Shows test calls as they arrive: asks for the part of the page that changes.
(() => {
  const SECONDS = 2;
  const shown = document.getElementById("trials");
  if (!shown) return;
  let before = null;
  const refresh = async () => {
    // A page in the background asks nothing.
    if (document.hidden) return;
    const answer = await fetch(shown.dataset.latest, { credentials: "same-origin" });
    if (!answer.ok || answer.redirected) return;
    const text = await answer.text();
    // Replaced only if it is new, so that a focused link keeps its focus.
    if (text !== before) shown.innerHTML = text;
    before = text;
  };
  setInterval(() => refresh().catch(() => {}), SECONDS * 1000);
})();
