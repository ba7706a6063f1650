/* Keys of the administration, unless somebody is typing: "/" leads to the search of all pages, "g" and a letter to a list, "e" to the
   first field of a form. */
"use strict";

const SECONDS_BETWEEN_TWO_KEYS = 1.5;
let waitsForLetterUntil = 0;

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, textarea, select, [contenteditable]");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  const goesTo = waitsForLetterUntil > Date.now() && document.querySelector(`[data-go-to="${CSS.escape(event.key)}"]`);
  waitsForLetterUntil = event.key === "g" ? Date.now() + SECONDS_BETWEEN_TWO_KEYS * 1000 : 0;
  if (goesTo) {
    event.preventDefault();
    window.location.assign(goesTo.href);
    return;
  }
  const field = {
    "/": document.getElementById("site-search-term"),
    e: document.querySelector("#content-main form :is(input:not([type=hidden], [readonly]), textarea, select):not(:disabled)"),
  }[event.key];
  if (!field) return;
  event.preventDefault();
  field.focus();
  field.select?.();
});
