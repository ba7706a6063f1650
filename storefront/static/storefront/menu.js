// Escape, or leaving it by the keyboard, closes the menu of one's account.

document.addEventListener("DOMContentLoaded", () => {
  const menu = document.querySelector("details.me");
  menu?.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  menu?.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false;
  });
});
