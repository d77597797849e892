// Keyboard, examples and the large picture. Texts are set as text, never as markup.
(() => {
  const find = (selector) => document.querySelector(selector);

  function type(selector, text) {
    const field = find(selector);
    if (!field) return;
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  function element(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  // The large picture ---------------------------------------------------------------------
  let dialog = null;
  let opened = null;

  function build() {
    dialog = element("dialog", "large");
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
    dialog.addEventListener("close", () => opened?.isConnected && opened.focus());
    (find(".gradio-container") ?? document.body).append(dialog);
  }

  function show(frame) {
    if (!dialog?.isConnected) build();
    opened = frame;
    const card = JSON.parse(frame.dataset.details);
    const picture = element("img");
    picture.src = card.url;
    picture.alt = card.prompt;
    const list = element("dl");
    for (const [label, value] of card.facts) {
      list.append(element("dt", "", label), element("dd", "", value));
    }
    const save = element("a", "", "Save PNG");
    save.href = card.url;
    save.download = card.filename;
    const again = element("button", "", "Use prompt and seed");
    again.type = "button";
    again.addEventListener("click", () => {
      type("#prompt textarea", card.prompt);
      type("#seed textarea, #seed input", String(card.seed));
      dialog.close();
    });
    const actions = element("div", "actions");
    actions.append(save, again);
    const facts = element("div", "facts");
    facts.append(element("h3", "", card.prompt), list, actions);
    const body = element("div", "body");
    body.append(picture, facts);
    const close = element("button", "close", "×");
    close.type = "button";
    close.setAttribute("aria-label", "Close");
    close.addEventListener("click", () => dialog.close());
    dialog.replaceChildren(body, close);
    dialog.setAttribute("aria-label", `Picture ${card.rank}: ${card.prompt}`);
    if (!dialog.open) dialog.showModal();
  }

  function step(by) {
    const frames = [...opened.closest(".tiles").querySelectorAll("[data-details]")];
    show(frames[(frames.indexOf(opened) + by + frames.length) % frames.length]);
  }

  // Examples ------------------------------------------------------------------------------
  function openKind(tab) {
    const examples = tab.closest(".examples");
    for (const other of examples.querySelectorAll("[role=tab]")) {
      const chosen = other === tab;
      other.setAttribute("aria-selected", String(chosen));
      other.tabIndex = chosen ? 0 : -1;
      examples.querySelector(`#${other.getAttribute("aria-controls")}`).hidden = !chosen;
    }
  }

  document.addEventListener("click", (event) => {
    const target = event.target.closest(
      "[data-details], [data-prompt], [data-api], .examples [role=tab]");
    if (!target) return;
    if (target.matches("[data-api]")) find("footer .show-api")?.click();
    else if (target.dataset.details) show(target);
    else if (target.dataset.prompt) type("#prompt textarea", target.dataset.prompt);
    else openKind(target);
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      find("#generate:not(:disabled)")?.click();
    } else if (event.key === "Escape" && !dialog?.open) {
      find("#stop:not(:disabled)")?.click();
    } else if (dialog?.open && (event.key === "ArrowRight" || event.key === "ArrowLeft")) {
      step(event.key === "ArrowRight" ? 1 : -1);
    } else if (event.target.matches?.(".examples [role=tab]") && event.key.startsWith("Arrow")) {
      const tabs = [...event.target.parentElement.querySelectorAll("[role=tab]")];
      const by = event.key === "ArrowRight" || event.key === "ArrowDown" ? 1 : -1;
      const next = tabs[(tabs.indexOf(event.target) + by + tabs.length) % tabs.length];
      openKind(next);
      next.focus();
    }
  }, true);
})();
