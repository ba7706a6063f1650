/* What is typed into a picker is posted: it may be a key, which belongs in no address. */
"use strict";

django.jQuery.ajaxPrefilter((options, _, request) => {
  const asked = new URLSearchParams(options.data);
  if (asked.has("app_label") && asked.has("field_name")) {
    options.type = "POST";
    request.setRequestHeader("X-CSRFToken", document.querySelector("[name=csrfmiddlewaretoken]").value);
  }
});
