/* Gives names to what Django's rows and pickers leave without one, so that a screen reader can say what they are. */
"use strict";

/* The label of a field; in a table of rows, the head of its column. */
function nameOf(field) {
  const label = field.id && document.querySelector(`label[for="${CSS.escape(field.id)}"]`);
  const cell = field.closest("td");
  const head = cell && cell.closest("table").tHead?.rows[0]?.cells[cell.cellIndex];
  return (label || head)?.textContent.replace(/:\s*$/, "").trim() ?? "";
}

function giveNames() {
  for (const field of document.querySelectorAll("#content-main :is(select, .inline-related input:not([type=hidden]), .inline-related textarea)")) {
    const name = nameOf(field);
    if (!name) continue;
    if (!field.labels?.length) field.setAttribute("aria-label", name);
    const picker = field.nextElementSibling;
    if (!picker?.classList.contains("select2-container")) continue;
    for (const part of picker.querySelectorAll("[role=combobox], [role=textbox], [role=searchbox]")) {
      part.setAttribute("aria-label", name);
    }
  }
  for (const head of document.querySelectorAll("th.original:empty")) {
    head.innerHTML = '<span class="unseen">Row</span>';
  }
}

/* Lets the keys scroll what is wider than its place; a link or a field inside would do so, too. */
function letKeysScroll() {
  for (const part of document.querySelectorAll(".scroll")) {
    const isWider = part.scrollWidth > part.clientWidth;
    if (isWider && !part.querySelector("a[href], button, input, select, textarea")) part.tabIndex = 0;
    else part.removeAttribute("tabindex");
  }
}

letKeysScroll();
window.addEventListener("resize", letKeysScroll);

// Django makes its pickers once the page is there, which may be after its load, and more of them when a row is added.
if (window.django?.jQuery) window.django.jQuery(() => setTimeout(giveNames));
else giveNames();
document.addEventListener("formset:added", () => setTimeout(giveNames));
