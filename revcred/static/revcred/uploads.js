/* Tell people that a file is too large before they send it. */
"use strict";

const file = document.querySelector("input[type=file][data-largest]");
file.addEventListener("change", () => {
  const [chosen] = file.files;
  const isTooLarge = chosen && chosen.size > Number(file.dataset.largest);
  file.setCustomValidity(isTooLarge ? file.dataset.tooLarge : "");
  file.form.noValidate = false;
  file.reportValidity();
});
