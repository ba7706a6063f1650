"use strict";
// Proposes the browser's time zone to whoever has not chosen one yet.
(() => {
  const choice = document.getElementById("id_time_zone");
  const note = document.getElementById("zone-of-browser");
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (!choice || !note || choice.value || !zone) return;
  if (![...choice.options].some((option) => option.value === zone)) return;
  choice.value = zone;
  note.textContent = note.dataset.text.replace("{zone}", zone);
  note.hidden = false;
})();
