"use strict";
// Searches a file for keys part by part, so that no server ever has all of it.
(() => {
  const MAX_BYTES = 1_000_000_000;
  const BYTES_PER_PART = 400_000;
  const MAX_KEY_CHARACTERS = 4_096; // a key may be cut by the end of a part
  const form = document.getElementById("leak");
  if (!form) return;
  const files = document.getElementById("leak-files");
  const input = document.getElementById("leak-file");
  const progress = document.getElementById("leak-progress");
  files.hidden = false;

  const scan = async (text) => {
    const body = new FormData();
    body.append("csrfmiddlewaretoken", form.elements.csrfmiddlewaretoken.value);
    body.append("text", text);
    const answer = await fetch(form.dataset.scan, { method: "POST", body, credentials: "same-origin" });
    if (!answer.ok) throw new Error(form.dataset.failed);
    return (await answer.json()).keys;
  };

  const search = async (file) => {
    if (file.size > MAX_BYTES) throw new Error(form.dataset.tooLarge);
    const found = new Set();
    const decoder = new TextDecoder();
    let rest = "";
    for (let at = 0; at < file.size; at += BYTES_PER_PART) {
      const bytes = await file.slice(at, at + BYTES_PER_PART).arrayBuffer();
      const isLast = at + BYTES_PER_PART >= file.size;
      const text = rest + decoder.decode(bytes, { stream: !isLast });
      for (const key of await scan(text)) found.add(key);
      rest = text.slice(-MAX_KEY_CHARACTERS);
      const percent = Math.min(100, Math.round((100 * (at + BYTES_PER_PART)) / file.size));
      progress.textContent = form.dataset.progress.replace("{percent}", percent).replace("{keys}", found.size);
    }
    return found;
  };

  const show = (found) => {
    // The page shows whose they are; of the file it gets the numbers of the keys only.
    form.elements.text.value = "";
    for (const key of found.size ? found : [0]) {
      const hidden = document.createElement("input");
      hidden.type = "hidden";
      hidden.name = "key";
      hidden.value = key;
      form.append(hidden);
    }
    form.submit();
  };

  const take = (file) => {
    if (!file) return;
    search(file).then(show).catch((error) => { progress.textContent = error.message; });
  };
  input.addEventListener("change", () => take(input.files[0]));
  form.addEventListener("dragover", (event) => event.preventDefault());
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
})();
