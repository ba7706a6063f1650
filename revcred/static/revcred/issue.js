/* The picker of subscriptions offers those of the customer that has been chosen. */
"use strict";

django.jQuery.ajaxPrefilter((options) => {
  const asked = new URLSearchParams(options.data);
  const customer = document.getElementById("id_customer").value;
  if (customer && asked.get("field_name") === "subscription") {
    asked.set("of_customer", customer);
    options.data = asked.toString();
  }
});
