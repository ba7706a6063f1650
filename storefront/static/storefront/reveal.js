// Reveals a key or secret in place: in a dialog of the credential's page, or on the page of the reveal.
// What is shown goes away after a while, and when its page is left. No history and no form holds it.

(() => {
  const SHOWN = 30_000; // milliseconds

  class Reveal {
    constructor(box) {
      this.box = box;
      this.form = box.querySelector("form");
      this.text = box.querySelector("[data-text]");
      this.copying = box.querySelector("[data-copy]");
      this.copyText = this.copying.textContent;
      this.texts = box.dataset; // in the language of the page
      this.form?.addEventListener("submit", (event) => this.ask(event));
      this.copying.addEventListener("click", () => this.copy());
      box.querySelector("[data-hide]").addEventListener("click", () => this.hide());
      addEventListener("pagehide", () => this.hide());
    }

    find(name) {
      return this.box.querySelector(`[data-${name}]`);
    }

    // The form again, as when nothing was asked for yet.
    reset() {
      this.hide();
      this.form?.reset();
      this.complain("");
      this.find("gone").textContent = "";
      this.swap(false);
    }

    swap(isShown) {
      for (const each of this.box.querySelectorAll("[data-before]")) each.hidden = isShown;
      this.find("after").hidden = !isShown;
    }

    complain(problem) {
      const place = this.find("problem");
      if (!place) return;
      place.textContent = problem;
      place.hidden = !problem;
    }

    askForPassword(isNeeded) {
      const place = this.find("password");
      const field = place.querySelector("[name=password]");
      place.hidden = !isNeeded;
      field.disabled = !isNeeded;
      field.required = isNeeded;
      if (isNeeded) field.focus();
    }

    async ask(event) {
      event.preventDefault();
      const button = this.form.querySelector("[type=submit]");
      button.disabled = true;
      button.setAttribute("aria-busy", "true");
      try {
        this.complain("");
        const response = await fetch(this.form.action, {
          method: "POST",
          body: new FormData(this.form),
          headers: { Accept: "application/json" },
          redirect: "manual",
        });
        await this.take(response);
      } catch {
        this.complain(this.texts.unreachable);
      } finally {
        button.disabled = false;
        button.removeAttribute("aria-busy");
      }
    }

    async take(response) {
      // A redirect leads to signing in, and from there back to this page.
      if (response.type === "opaqueredirect") return location.reload();
      if (response.headers.get("Content-Type")?.startsWith("application/json")) {
        const answer = await response.json();
        if (answer.text !== undefined) return this.show(answer.text);
        this.complain(answer.problem);
        if (answer.password) this.askForPassword(true);
        return undefined;
      }
      const wait = Math.ceil(Number(response.headers.get("Retry-After")) / 60);
      this.complain(
        wait
          ? (wait === 1 ? this.texts.tooManyOne : this.texts.tooMany.replace("{minutes}", wait))
          : this.texts.failed,
      );
      return undefined;
    }

    show(text) {
      this.form.reset();
      this.askForPassword(false); // for the next five minutes
      this.text.textContent = text;
      this.copying.textContent = this.copyText;
      this.swap(true);
      this.copying.focus();
      // By the clock: timers of a tab in the background, or of a machine asleep, stand still.
      this.until = Date.now() + SHOWN;
      this.timer = setInterval(() => this.tick(), 250);
      this.tick();
    }

    tick() {
      const seconds = Math.ceil((this.until - Date.now()) / 1000);
      this.find("left").textContent = this.texts.hiddenIn.replace("{seconds}", seconds);
      if (seconds <= 0) this.hide();
    }

    // Out of the document, not only out of sight.
    hide() {
      clearInterval(this.timer);
      if (!this.text.textContent) return;
      this.text.textContent = "";
      this.swap(false);
      this.find("gone").textContent = this.texts.hidden;
    }

    async copy() {
      try {
        await navigator.clipboard.writeText(this.text.textContent);
        this.copying.textContent = this.texts.copied;
      } catch {
        // Without HTTPS there is no clipboard to write to.
        getSelection().selectAllChildren(this.text);
        this.copying.textContent = this.texts.press;
      }
    }
  }

  const openDialogs = (dialog, reveal) => {
    const title = dialog.querySelector("h2");
    const open = (link) => {
      reveal.reset();
      reveal.form?.setAttribute("action", link.href);
      title.textContent = link.dataset.reveal;
      dialog.showModal();
    };
    for (const link of document.querySelectorAll("a[data-reveal]")) {
      link.addEventListener("click", (event) => {
        // In another tab the link leads to the page of the reveal.
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        open(link);
      });
    }
    dialog.addEventListener("close", () => reveal.reset());
    dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
    const made = document.querySelector("a[data-reveal-at-once]");
    if (made) {
      // A reload or a bookmark does not ask again.
      history.replaceState(history.state, "", location.pathname);
      open(made);
    }
  };

  document.addEventListener("DOMContentLoaded", () => {
    for (const box of document.querySelectorAll("[data-reveal-box]")) {
      const reveal = new Reveal(box);
      const dialog = box.closest("dialog");
      if (dialog) openDialogs(dialog, reveal);
    }
  });
})();
