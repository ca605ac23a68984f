"use strict";
// The description is fetched here, so that "Try it out" asks the server below whatever prefix a proxy gave this page.

async function begin() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", follow);
  follow();
  const address = new URL("openapi.json", document.baseURI);
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address} answered ${response.status}: ${(await response.text()).slice(0, 500)}`);
  const spec = await response.json();
  spec.servers = [{ url: new URL(".", document.baseURI).pathname.replace(/\/$/, "") || "/" }];
  SwaggerUIBundle({
    spec,
    dom_id: "#swagger",
    deepLinking: true,
    displayRequestDuration: true,
    defaultModelsExpandDepth: -1,
    docExpansion: "list",
    tryItOutEnabled: true,
    validatorUrl: null, // its badge would be somebody else's server
  });
}

begin().catch((error) => {
  document.getElementById("problem").textContent = `The description of the API cannot be shown: ${error.message}`;
  document.getElementById("problem").hidden = false;
});
