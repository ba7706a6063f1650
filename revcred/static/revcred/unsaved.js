/* Asks before a page is left whose form has changes that nobody saved. */
"use strict";

for (const form of document.querySelectorAll("body.change-form #content-main form[method=post]")) {
  // A form that comes back with an error still has what was typed.
  let isChanged = form.querySelector(".errornote, .errorlist") !== null;
  const change = () => {
    isChanged = true;
  };
  form.addEventListener("input", change);
  form.addEventListener("change", change);
  form.addEventListener("submit", () => {
    isChanged = false;
  });
  window.addEventListener("beforeunload", (event) => {
    if (isChanged) event.preventDefault();
  });
}
