/* Security keys: turns the server's options into a question to the browser, and its answer into a form field. */
"use strict";

const ask = JSON.parse(document.getElementById("webauthn").textContent);
const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
  .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

function options(given) {
  const made = { ...given, challenge: bytes(given.challenge) };
  if (made.user) { made.user = { ...made.user, id: bytes(made.user.id) }; }
  for (const list of ["excludeCredentials", "allowCredentials"]) {
    if (made[list]) { made[list] = made[list].map((one) => ({ ...one, id: bytes(one.id) })); }
  }
  return { publicKey: made };
}

function plain(credential) {
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[name]) { response[name] = text(credential.response[name]); }
  }
  if (credential.response.getTransports) { response.transports = credential.response.getTransports(); }
  return {
    type: credential.type, id: credential.id, rawId: text(credential.rawId), response,
    clientExtensionResults: credential.getClientExtensionResults(),
  };
}

for (const form of document.querySelectorAll("form[data-webauthn]")) {
  const button = form.querySelector("button");
  const failure = form.querySelector("[data-failure]");
  if (!window.PublicKeyCredential) {
    failure.textContent = "This browser has no security keys here: they need HTTPS, or localhost.";
    failure.hidden = false;
    continue;
  }
  button.disabled = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    failure.hidden = true;
    try {
      const credential = form.dataset.webauthn === "create"
        ? await navigator.credentials.create(options(ask.creation_options.publicKey))
        : await navigator.credentials.get(options(ask.request_options.publicKey));
      form.elements.credential.value = JSON.stringify(plain(credential));
      form.submit();
    } catch (error) {
      failure.textContent = `The key was not used (${error.name}). Try again.`;
      failure.hidden = false;
    }
  });
}
