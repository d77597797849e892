// Keyboard, examples and the large picture. Texts are set as text, never as markup.
(() => {
  const find = (selector) => document.querySelector(selector);

  // The page's words, in the language that Gradio takes: English texts are their own keys.
  const portuguese = navigator.language.toLowerCase().split("-")[0] === "pt";
  if (portuguese) document.documentElement.lang = "pt-BR";
  function say(text, ...values) {
    const words = portuguese ? window.gradio_config?.i18n_translations?.pt : null;
    return values.reduce((said, value) => said.replace("{}", () => value), words?.[text] ?? text);
  }

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
    const save = element("a", "", say("Save PNG"));
    save.href = card.url;
    save.download = card.filename;
    const again = element("button", "", say("Use prompt and seed"));
    again.type = "button";
    again.addEventListener("click", () => {
      type("#prompt textarea", card.prompt);
      type("#seed textarea, #seed input", String(card.seed));
      dialog.close();
    });
    const actions = element("div", "actions");
    actions.append(save, again);
    const handOff = find("#hand-off label span")?.textContent.trim();
    if (card.id && handOff) {
      const start = element("button", "", handOff);
      start.type = "button";
      start.addEventListener("click", () => {
        // The server ignores what follows the id; a second click must differ from the first.
        type("#hand-off textarea, #hand-off input", `${card.id} ${Date.now()}`);
        dialog.close();
      });
      actions.append(start);
    }
    if (neighbours().length > 1) {
      const turns = [[-1, say("Previous")], [1, say("Next")]].map(([by, name]) => {
        const turn = element("button", "", name);
        turn.type = "button";
        turn.addEventListener("click", () => step(by));
        return turn;
      });
      actions.prepend(...turns);
    }
    const facts = element("div", "facts");
    facts.append(element("h3", "", card.prompt), actions, list);
    const body = element("div", "body");
    body.append(picture, facts);
    const close = element("button", "close", "×");
    close.type = "button";
    close.setAttribute("aria-label", say("Close"));
    close.addEventListener("click", () => dialog.close());
    dialog.replaceChildren(close, body);
    dialog.setAttribute("aria-label", say("Picture {}: {}", card.rank, card.prompt));
    if (!dialog.open) dialog.showModal();
    // Or the browser shows the first link, which on a phone lies far below the picture.
    close.focus();
    dialog.scrollTop = 0;
  }

  // Nothing is shown larger than twice its pixels: it would look softer than the type beside it.
  // What is drawn again and again says its own size, since this would be lost with every drawing.
  document.addEventListener("load", (event) => {
    const picture = event.target;
    if (!(picture instanceof HTMLImageElement) || !picture.naturalWidth) return;
    picture.style.setProperty("--width", `${picture.naturalWidth}px`);
    picture.style.setProperty("--height", `${picture.naturalHeight}px`);
  }, true);

  function neighbours() {
    const place = opened.closest(".tiles, .sweep");
    return place ? [...place.querySelectorAll("[data-details]")] : [opened];
  }

  function step(by) {
    const frames = neighbours();
    show(frames[(frames.indexOf(opened) + by + frames.length) % frames.length]);
  }

  // A reload finds the tab that was open (see easel/ui/parts/live.py).
  addEventListener("pagehide", () => {
    const tab = find("#tabs > .tab-wrapper [role=tab][aria-selected=true]");
    if (tab?.dataset.tabId) sessionStorage.setItem("easel-tab", tab.dataset.tabId);
  });

  // The end of a run ----------------------------------------------------------------------
  // Pressed and typed into: then the page says where the best picture is, and moves nothing.
  let touchedMs = 0;
  for (const kind of ["wheel", "touchmove", "keydown", "pointerdown"]) {
    document.addEventListener(kind, () => { touchedMs = Date.now(); }, { passive: true });
  }
  document.addEventListener("change", (event) => {
    if (event.target.name === "pictures-by") sessionStorage.setItem("easel-order", event.target.value);
  });

  // Called at the end of a run (see easel/ui/generate/tab.py).
  window.easelShowBest = () => {
    const order = sessionStorage.getItem("easel-order");
    if (order) document.querySelector(`#stage input[name=pictures-by][value="${order}"]`)?.click();
    const best = [...document.querySelectorAll("#stage .tile:has(.rank.best)")]
      .find((tile) => tile.checkVisibility());
    find("#show-best")?.remove();
    if (!best || !find("#stage").checkVisibility()) return;
    const { top, bottom } = best.getBoundingClientRect();
    if (top >= 0 && bottom <= innerHeight) return;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const go = () => (find("#stage .run-head") ?? best).scrollIntoView(
      { behavior: calm ? "auto" : "smooth", block: "start" });
    if (Date.now() - touchedMs > 2500) return go();
    const chip = element("button", "", say("The pictures are done: show the best"));
    chip.id = "show-best";
    chip.type = "button";
    chip.addEventListener("click", () => { chip.remove(); go(); });
    new IntersectionObserver((seen, watch) => {
      if (!seen.some((each) => each.isIntersecting)) return;
      watch.disconnect();
      chip.remove();
    }, { threshold: 0.6 }).observe(best);
    document.querySelector(".gradio-container").append(chip);
  };

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

  // The forms of options, on Generate and on Compare ---------------------------------------
  // Those that are not at their defaults, by name.
  function readOptions(group) {
    const options = {};
    for (const input of group.querySelectorAll("[data-option]")) {
      const name = input.dataset.option;
      if (input.type === "checkbox") {
        if (input.checked !== input.hasAttribute("data-default")) options[name] = input.checked;
      } else if (input.value !== input.dataset.default && input.value !== "") {
        if (input.tagName === "SELECT") options[name] = JSON.parse(input.value);
        else options[name] = input.type === "number" ? Number(input.value) : input.value;
      }
    }
    return options;
  }

  // What automatic options become for the models that are chosen, or why these do not go together.
  function showAutomatic(group) {
    if (!group?.dataset.auto) return;
    const { word, by, cases, values } = JSON.parse(group.dataset.auto);
    const control = (name) => group.querySelector(`[data-option="${name}"]`);
    const index = by.reduce((sum, name) => {
      const select = control(name);
      return sum * select.options.length + select.selectedIndex;
    }, 0);
    const refused = group.querySelector(".refused");
    const found = typeof cases[index] === "string" ? {} : values[cases[index]];
    refused.hidden = typeof cases[index] !== "string";
    refused.textContent = refused.hidden ? "" : cases[index];
    for (const name of Object.keys(values[0] ?? {})) {
      const input = control(name), value = found[name];
      if (input.tagName === "SELECT") {
        const chosen = [...input.options].find((each) => each.value === JSON.stringify(value));
        input.options[0].textContent = chosen ? `${word} (${chosen.textContent})` : word;
      } else {
        input.placeholder = value === undefined ? word : `${word}: ${value}`;
        const slider = input.parentElement.querySelector("[type=range]");
        if (slider && input.value === "" && value !== undefined) slider.value = value;
      }
    }
  }

  document.addEventListener("input", (event) => {
    showAutomatic(event.target.closest?.("[data-auto]"));
  });

  // A slider and the field of its number say the same.
  document.addEventListener("input", (event) => {
    const slider = event.target.closest?.(".option .slider");
    for (const other of slider?.querySelectorAll("input") ?? []) {
      if (other !== event.target && event.target.value !== "") other.value = event.target.value;
    }
  }, true);

  document.addEventListener("input", (event) => {
    const forms = event.target.closest("#option-forms");
    if (!forms) return;
    const groups = [...forms.querySelectorAll("[data-pipeline]")];
    type("#option-values textarea", JSON.stringify(Object.fromEntries(
      groups.map((group) => [group.dataset.pipeline, readOptions(group)]))));
  });

  function readPane(form) {
    const field = (name) => form.querySelector(`[data-field=${name}]`).value;
    const pipeline = field("pipeline");
    let options = {};
    for (const group of form.querySelectorAll("fieldset")) {
      group.hidden = group.dataset.pipeline !== pipeline;
      if (!group.hidden) options = readOptions(group);
    }
    return { pipeline, num_images: Number(field("num_images")), seed: field("seed") || null, options };
  }

  function readPanes() {
    const forms = [...document.querySelectorAll(".pane-form:not([hidden])")];
    if (forms.length) type("#compare-panes textarea", JSON.stringify(forms.map(readPane)));
  }

  function changePanes(by) {
    const forms = [...document.querySelectorAll(".pane-form")];
    const count = forms.filter((form) => !form.hidden).length + by;
    forms.forEach((form, index) => { form.hidden = index >= count; });
    for (const button of document.querySelectorAll("[data-panes]")) {
      button.disabled = button.dataset.panes > 0 ? count >= forms.length : count <= 2;
    }
    readPanes();
  }

  document.addEventListener("input", (event) => {
    if (event.target.closest(".pane-form")) readPanes();
  });
  // A suggestion takes the place of the last word of the field that it stands under.
  document.addEventListener("click", (event) => {
    const chosen = event.target.closest("[data-complete]");
    const place = chosen?.closest("[data-for]");
    if (!place) return;
    const selector = `#${place.dataset.for} :is(textarea, input)`;
    type(selector, `${find(selector).value.replace(/\S*$/, chosen.dataset.complete)} `);
    find(selector).focus();
  });

  // What can be drawn: words are put in where the cursor was, a medium around what is there.
  document.addEventListener("click", (event) => {
    const chosen = event.target.closest("[data-insert]");
    const field = find("#prompt textarea");
    if (!chosen || !field) return;
    const word = chosen.dataset.insert;
    if (chosen.dataset.how === "wrap") {
      type("#prompt textarea", word.replace("{s}", () => field.value.trim()));
    } else {
      const at = field.selectionEnd ?? field.value.length;
      const before = field.value.slice(0, at).trimEnd(), after = field.value.slice(at).trimStart();
      type("#prompt textarea", [before, word, after].filter(Boolean).join(" "));
      const end = before.length + word.length + (before ? 1 : 0);
      field.setSelectionRange(end, end);
    }
  });
  document.addEventListener("input", (event) => {
    if (!event.target.matches(".drawable-search")) return;
    const asked = event.target.value.trim().toLowerCase();
    const fold = event.target.parentElement;
    for (const button of fold.querySelectorAll("[data-words]")) {
      button.hidden = !button.dataset.words.includes(asked);
    }
    const groups = [...fold.querySelectorAll(".drawable-group")];
    for (const group of groups) group.hidden = !group.querySelector("[data-words]:not([hidden])");
    fold.querySelector(".hint").hidden = groups.some((group) => !group.hidden);
  });
  document.addEventListener("click", (event) => {
    const id = event.target.closest("[data-open]")?.dataset.open;
    if (!id) return;
    find("#tabs > .tab-wrapper [data-tab-id=generate]")?.click();
    const fold = find(`#${id}`);
    const head = fold?.querySelector(".label-wrap");
    if (head && !head.classList.contains("open")) head.click();
    fold?.scrollIntoView({ block: "start" });
  });
  document.addEventListener("submit", (event) => {
    if (!event.target.matches(".pane-form")) return;
    event.preventDefault();
    find("#compare-run:not(:disabled)")?.click();
  });

  document.addEventListener("click", (event) => {
    const target = event.target.closest(
      "[data-details], [data-prompt], [data-api], [data-panes], [data-act], [data-wish], "
      + ".examples [role=tab]");
    if (!target) return;
    if (target.matches("[data-api]")) find("footer .show-api")?.click();
    else if (target.dataset.details) show(target);
    else if (target.dataset.act) {
      target.disabled = true;
      // The server ignores the stamp; a second press must differ from the first.
      type("#model-act textarea, #model-act input",
        `${target.dataset.act} ${target.dataset.model} ${Date.now()}`);
    } else if (target.dataset.wish) {
      const field = `#${target.dataset.wish}-clip-wish`;
      type(`${field} textarea, ${field} input`, `${target.dataset.clip} ${Date.now()}`);
    } else if (target.dataset.panes) changePanes(Number(target.dataset.panes));
    else if (target.dataset.prompt) {
      const field = target.closest("[data-for]")?.dataset.for ?? "prompt";
      type(`#${field} :is(textarea, input)`, target.dataset.prompt);
    }
    else openKind(target);
  });

  // A vote ----------------------------------------------------------------------------------
  // By the keys 1 to 4, and by a click on a picture where nothing else is behind it.
  function vote(choice) {
    const button = find(`#vote-${choice}`);
    if (!button?.checkVisibility()) return false;
    button.click();
    return true;
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || dialog?.open) return;
    if (event.target.matches?.("input, textarea, select, [contenteditable]")) return;
    if (event.key === "0") vote("tie");
    else if ("1234".includes(event.key)) vote(Number(event.key) - 1);
  });
  document.addEventListener("click", (event) => {
    const column = event.target.closest("#panes .pane-column");
    if (column && event.target.closest("div.frame")) vote([...column.parentElement.children].indexOf(column));
  });

  // The first of some buttons that can be pressed on the open tab.
  function press(...names) {
    names.flatMap((name) => [...document.querySelectorAll(`${name}:not(:disabled)`)])
      .find((button) => button.checkVisibility())?.click();
  }

  // Gradio's own text box of several lines has it the other way round, and listens to key presses.
  document.addEventListener("keypress", (event) => {
    if (event.key === "Enter" && event.target.matches?.("#prompt textarea")) event.stopPropagation();
  }, true);

  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.isComposing && event.target.matches?.("#prompt textarea")) {
      event.stopPropagation();
      if (event.shiftKey) return;
      event.preventDefault();
      press("#generate");
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (event.target.closest?.("#sweep")) press("#sweep-run");
      else press("#generate", "#compare-run", "#rerank-run", "#walk-run", ".lab-buttons .primary");
    } else if (event.key === "Escape" && !dialog?.open) {
      press("#stop", "#compare-stop", "#sweep-stop", "#walk-stop", ".lab-stop");
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
