// What scripts add to pages that work without them. Everything is found by a data- attribute.

const root = document.documentElement;

function on(type, selector, act) {
  document.addEventListener(type, (event) => {
    const found = event.target instanceof Element ? event.target.closest(selector) : null;
    if (found) act(found, event);
  });
}

// Theme: the server reads the cookie, so the next page comes in the right colours from the start.
on("click", "[data-theme-choice]", (button) => {
  const pressed = root.dataset.theme;
  const order = ["light", "dark", "auto"];
  // On a phone only the chosen one is there; touching it goes on to the next.
  const choice = button.dataset.themeChoice === pressed && matchMedia("(max-width: 860px)").matches
    ? order[(order.indexOf(pressed) + 1) % order.length]
    : button.dataset.themeChoice;
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `tokenopen-theme=${choice}; path=/; max-age=31536000; samesite=lax${secure}`;
  root.dataset.theme = choice;
  for (const other of document.querySelectorAll("[data-theme-choice]")) {
    other.setAttribute("aria-pressed", String(other.dataset.themeChoice === choice));
  }
  document.querySelector(`[data-theme-choice="${choice}"]`)?.focus();
});

// Copying: from an input its value, from anything else its text.
on("click", "[data-copy]", async (button) => {
  const source = document.getElementById(button.dataset.copy);
  const text = "value" in source ? source.value : source.textContent;
  const label = button.querySelector("span");
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    getSelection().selectAllChildren(source);
    return;
  }
  const before = label.textContent;
  label.textContent = button.dataset.copied;
  button.setAttribute("aria-live", "polite");
  setTimeout(() => { label.textContent = before; }, 1600);
});
on("focusin", "[data-select]", (input) => input.select());
on("click", "[data-dismiss]", (button) => button.closest(".flash").remove());

// A dialog opens as a popover by itself; with scripts it is modal, so that nothing behind it can be reached.
on("click", "[data-dialog]", (button, event) => {
  const dialog = document.getElementById(button.dataset.dialog);
  event.preventDefault();
  dialog.removeAttribute("popover");
  dialog.showModal();
});
on("click", "[data-close]", (button, event) => {
  const dialog = button.closest("dialog");
  if (dialog.hasAttribute("popover")) return;
  event.preventDefault();
  dialog.close();
});

// A menu closes when something else is clicked, or with Escape.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("[data-dropdown][open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && document.querySelector("[data-dropdown][open]");
  if (menu) { menu.open = false; menu.querySelector("summary").focus(); }
});

// A form is sent once, however often its button is pressed.
on("submit", "form[data-once]", (form, event) => {
  if (form.dataset.sent) { event.preventDefault(); return; }
  form.dataset.sent = "yes";
  setTimeout(() => { delete form.dataset.sent; }, 8000);
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// The language of examples is kept from page to page.
function showTab(name) {
  for (const input of document.querySelectorAll("[data-tab]")) {
    if (input.dataset.tab === name) input.checked = true;
  }
}
on("change", "[data-tab]", (input) => {
  showTab(input.dataset.tab);
  try { localStorage.setItem("tokenopen-tab", input.dataset.tab); } catch { /* private windows keep nothing */ }
});
try { showTab(localStorage.getItem("tokenopen-tab")); } catch { /* as above */ }

document.querySelector("[data-focus]")?.focus();

// Charts: the library is only fetched once somebody points at one, or where nobody can point without touching;
// the server's drawing stays until then, and where the library is missing.
function addScript(address) {
  return new Promise((done, failed) => {
    const script = document.createElement("script");
    Object.assign(script, { src: address, onload: done, onerror: failed });
    document.head.append(script);
  });
}
let chartLibrary = null;
function enlivenCharts() {
  const figure = document.querySelector("[data-chart][data-chart-library]");
  if (!figure) return;
  if (!chartLibrary) {
    const sheet = document.createElement("link");
    Object.assign(sheet, { rel: "stylesheet", href: figure.dataset.chartSheet });
    document.head.append(sheet);
    chartLibrary = Promise.all([import(figure.dataset.chartScript), addScript(figure.dataset.chartLibrary)]);
  }
  chartLibrary.then(([charts]) => charts.enliven());
}
const touchedOnly = matchMedia("(hover: none)").matches;
on("pointerover", "[data-chart-library]", () => { if (!chartLibrary) enlivenCharts(); });
if (touchedOnly) enlivenCharts();
// What the server refuses is not put in the place of what is there; filters say why beside themselves.
document.addEventListener("htmx:after:request", (event) => {
  const { sourceElement, response, text } = event.detail.ctx;
  const filters = sourceElement.closest(".filters");
  filters?.querySelector(".field-error")?.remove();
  filters?.querySelector("[data-reset]")?.removeAttribute("hidden");
  if (response.status < 400) return;
  event.preventDefault();
  const why = new DOMParser().parseFromString(text, "text/html").querySelector(".error-page .lead");
  if (!filters || !why) return;
  const problem = document.createElement("p");
  problem.className = "field-error";
  problem.setAttribute("role", "alert");
  problem.textContent = why.textContent;
  filters.append(problem);
});
// A filter brings other charts in.
document.addEventListener("htmx:after:swap", () => { if (touchedOnly || chartLibrary) enlivenCharts(); });
