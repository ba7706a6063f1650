// Copies a sample of code with one click.

for (const button of document.querySelectorAll("[data-copy-code]")) {
  const text = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.parentElement.querySelector("pre").textContent);
    button.textContent = button.dataset.copied;
    setTimeout(() => (button.textContent = text), 2_000);
  });
}
