// Where the policy of a page requires it, HTML that a script puts in place passes here: htmx does so with sections
// from this server. Scripts in it do not run, and text never becomes a script or its address.

window.trustedTypes?.createPolicy("default", { createHTML: (html) => html });
