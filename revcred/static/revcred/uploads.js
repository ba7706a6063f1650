/* A file that is too large is told of before it has been sent. */
"use strict";

const file = document.querySelector("input[type=file][data-largest]");
file.addEventListener("change", () => {
  const [chosen] = file.files;
  const isTooLarge = chosen && chosen.size > Number(file.dataset.largest);
  file.setCustomValidity(isTooLarge ? "This file is larger than an upload may be." : "");
  file.form.noValidate = false;
  file.reportValidity();
});
