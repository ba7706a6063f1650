/* "/" leads to the search of all pages, unless somebody is typing. */
"use strict";

document.addEventListener("keydown", (event) => {
  const field = document.getElementById("site-search-term");
  const isTyping = event.target.closest("input, textarea, select, [contenteditable]");
  if (!field || isTyping || event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  field.focus();
  field.select();
});
