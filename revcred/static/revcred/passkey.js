// Offers passkeys where there are any, and says on the page, and not only in the console, that one was not used.
if (window.PublicKeyCredential) {
  for (const each of document.querySelectorAll("[data-for-passkeys]")) each.hidden = false;
}

document.addEventListener("allauth.error", (event) => {
  event.preventDefault();
  document.getElementById("passkey_problem").hidden = false;
});
