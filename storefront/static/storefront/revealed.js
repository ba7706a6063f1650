// Hides a key or secret again after a while, and when its page is left.

const SHOWN = 30_000; // milliseconds

document.addEventListener("alpine:init", () => {
  Alpine.data("revealed", () => ({
    seconds: SHOWN / 1000,
    shown: true,
    hidden: false,
    copying: "Copy",

    init() {
      // By the clock: timers of a tab in the background, or of a machine asleep, stand still.
      const until = Date.now() + SHOWN;
      this.timer = setInterval(() => this.tick(until - Date.now()), 250);
      addEventListener("pagehide", () => this.hide());
      addEventListener("pageshow", (event) => event.persisted && this.hide());
    },

    get left() {
      return `Hidden again in ${this.seconds} seconds`;
    },

    tick(rest) {
      this.seconds = Math.ceil(rest / 1000);
      if (rest <= 0) this.hide();
    },

    // Out of the document, not only out of sight.
    hide() {
      clearInterval(this.timer);
      this.$refs.text.textContent = "";
      this.shown = false;
      this.hidden = true;
    },

    async copy() {
      const text = this.$refs.text;
      try {
        await navigator.clipboard.writeText(text.textContent);
        this.copying = "Copied";
      } catch {
        // Without HTTPS there is no clipboard to write to.
        getSelection().selectAllChildren(text);
        this.copying = "Press Ctrl+C";
      }
    },
  }));
});
