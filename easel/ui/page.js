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
    if (card.id) {
      const look = element("button", "", say("Look inside"));
      look.type = "button";
      look.addEventListener("click", () => {
        dialog.close();
        lookInside(card.id);
      });
      actions.append(look);
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
    // How it went is said above the pictures, and is to be seen as well.
    const { top } = (find("#stage .run-head") ?? best).getBoundingClientRect();
    if (top >= 0 && best.getBoundingClientRect().bottom <= innerHeight) return;
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
    const prompt = field("prompt").trim();
    return { pipeline, ...(prompt && { prompt }), num_images: Number(field("num_images")), seed: field("seed") || null, options };
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
      "[data-details], [data-prompt], [data-press], [data-api], [data-panes], [data-act], [data-wish], "
      + ".examples [role=tab]");
    if (!target) return;
    if (target.matches("[data-api]")) find("footer .show-api")?.click();
    else if (target.dataset.details) show(target);
    else if (target.dataset.press) find(`#${target.dataset.press}`)?.click();
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

  // Inside: a press that says something to a hidden field, and grids -------------------------------
  document.addEventListener("click", (event) => {
    const teller = event.target.closest("[data-tell]");
    // The server ignores the stamp; a second press must differ from the first.
    if (teller) type(`#${teller.dataset.tell} :is(textarea, input)`, `${teller.dataset.say} ${Date.now()}`);
  });
  // Once the tab keeps what it is told (see easel/ui/parts/late.py).
  function takeKept(id, tab, name) {
    openTab(tab);
    let frames = 600;
    const tell = () => {
      const field = find(`#${name} :is(textarea, input)`);
      if (field && !field.closest(".settling")) type(`#${name} :is(textarea, input)`, `kept ${id} ${Date.now()}`);
      else if (--frames) requestAnimationFrame(tell);
    };
    tell();
  }
  const lookInside = (id) => takeKept(id, "inside.score", "inside-take");
  document.addEventListener("click", (event) => {
    const pressed = event.target.closest("[data-look], [data-alike]");
    if (pressed?.dataset.look) lookInside(pressed.dataset.look);
    else if (pressed) takeKept(pressed.dataset.alike, "lab.search", "lab-take");
  });
  // Codes: the map shows what stands in it now, where some were exchanged (see easel/ui/inside/codes.py).
  let swaps = null;
  new MutationObserver(() => {
    const found = find("#inside-swaps"), map = find("#inside .code-map");
    if (found === swaps || !map) return;
    swaps = found;
    for (const cell of map.querySelectorAll("[data-swapped]")) {
      const { said, background } = JSON.parse(cell.dataset.swapped);
      delete cell.dataset.swapped;
      relabel(cell, said, background);
    }
    for (const { dataset } of found?.children ?? []) {
      const [row, column] = dataset.at.split(" ");
      const cell = map.children[row]?.children[column];
      if (!cell) continue;
      cell.dataset.swapped = JSON.stringify({ said: cell.dataset.said, background: cell.style.background });
      relabel(cell, dataset.said, dataset.colour);
    }
    const [row, column] = (find("#inside-code-pick :is(textarea, input)")?.value ?? "").split(" ");
    if (found) sayCell(map.children[row]?.children[column]);
  }).observe(document.documentElement, { childList: true, subtree: true });
  function relabel(cell, said, background) {
    cell.dataset.said = said;
    cell.setAttribute("aria-label", said);
    cell.style.background = background;
  }
  // A preview whose file is gone meanwhile says so in place of a broken picture.
  document.addEventListener("error", (event) => {
    if (!event.target.matches?.('img[src*="history/"]')) return;
    const gone = document.createElement("span");
    gone.className = "lab-gone";
    gone.textContent = say("The picture’s file is no longer there.");
    event.target.replaceWith(gone);
  }, true);
  // Enter in a number does what the button below does; where a slider's release does so, leaving it does.
  // It does so in fields of one line, in which it would do nothing else; a list that opens takes it itself.
  const ASKS = { ".lab-ask": [], "#rerank-ask": ["#rerank-run"], "#walk-ask": ["#walk-run"],
    "#paused-form": ["#resume"], "#sweep": ["#sweep-run", "#sweep-add"],
    ":is(#compare-ask, #compare-settings)": ["#compare-run"], ":is(#ask, #more)": ["#generate", "#queue-add"] };
  const ONE_LINE = 'input[type="number"], :is(#seed, #compare-seed, #compare-budget, [id^="sweep-values"], #paused-form, #lab-threshold) :is(input, textarea), :is(input[type="text"]):is([data-field], [data-option])';
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing || event.shiftKey || event.ctrlKey || event.metaKey) return;
    if (!event.target.matches?.(ONE_LINE)) return;
    const around = Object.keys(ASKS).find((each) => event.target.closest(each));
    if (!around) return;
    event.preventDefault();
    delete event.target.dataset.was;
    event.target.blur();  // the number is brought between its bounds first
    const ask = event.target.closest(around);
    if (!event.repeat && !ask.matches(".lab-live")) requestAnimationFrame(() => around === ".lab-ask" ? ask.querySelector("button.primary:enabled")?.click() : press(...ASKS[around]));
  });
  // Leaving a number as it was releases no slider.
  const LIVE_NUMBER = '.lab-live input[type="number"]';
  document.addEventListener("focusin", ({ target }) => {
    if (target.matches(LIVE_NUMBER)) target.dataset.was = target.value;
  });
  document.addEventListener("blur", (event) => {
    if (event.target.matches?.(LIVE_NUMBER) && event.target.dataset.was === event.target.value) event.stopImmediatePropagation();
  }, true);
  const cellOf = (event) => event.target.closest?.("[role=gridcell][data-said]");
  function sayCell(cell) {
    const said = cell?.closest(".inside-grid")?.querySelector("output");
    if (said) said.textContent = cell.dataset.said;
    const shown = cell?.dataset.shows;
    if (!shown) return;
    const grid = cell.closest(".inside-grid");
    for (const each of grid.querySelectorAll("[data-cell]")) each.hidden = each.dataset.cell !== shown;
    grid.querySelector("[aria-current]")?.removeAttribute("aria-current");
    cell.setAttribute("aria-current", "true");
  }
  for (const kind of ["pointerover", "focusin"]) {
    document.addEventListener(kind, (event) => sayCell(cellOf(event)));
  }
  // One stop of Tab; arrows walk on, as in every grid.
  document.addEventListener("keydown", (event) => {
    const cell = cellOf(event);
    if (!cell) return;
    const row = cell.parentElement, column = [...row.children].indexOf(cell);
    const next = { ArrowLeft: cell.previousElementSibling, ArrowRight: cell.nextElementSibling,
      ArrowUp: row.previousElementSibling?.children[column], ArrowDown: row.nextElementSibling?.children[column],
      Home: row.firstElementChild, End: row.lastElementChild }[event.key];
    if (!next) return;
    event.preventDefault();
    cell.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });

  // Inside: a mask is painted, by pointer or by keys; its text is what the server reads ------------
  const maskText = (place) => find(`#${place} :is(textarea, input)`);
  const maskRows = (grid) => [...grid.querySelectorAll("[role=row]")].map((row) => [...row.children]);
  const stays = (cell) => cell.getAttribute("aria-selected") === "true";
  // Called as the cells come, with their element, and whenever the text changes, with its place (see easel/ui/inside/mask.py).
  window.easelMask = (where, value) => {
    const grid = where?.querySelector?.("[data-mask]") ?? find(`.mask-grid[data-mask="${where}"]`);
    const text = value ?? (grid && maskText(grid.dataset.mask)?.value);
    if (!grid || !text) return;
    const rows = text.split(" ");
    maskRows(grid).forEach((cells, row) => cells.forEach((cell, column) => {
      cell.setAttribute("aria-selected", String(rows[row]?.[column] === "1"));
    }));
  };
  function tellMask(grid) {
    const rows = maskRows(grid), cells = rows.flat();
    grid.querySelector("output").textContent = say("{} of {} stay", cells.filter(stays).length, cells.length);
    type(`#${grid.dataset.mask} :is(textarea, input)`,
      rows.map((row) => row.map((cell) => Number(stays(cell))).join("")).join(" "));
  }
  let brush = null;  // what becomes of the cells that the pointer passes, and of which grid
  const paint = (cell) => {
    if (cell && brush?.grid.contains(cell)) cell.setAttribute("aria-selected", String(brush.keep));
  };
  const maskCell = (target) => target?.closest?.(".mask-grid [role=gridcell]");
  document.addEventListener("pointerdown", (event) => {
    const cell = maskCell(event.target);
    if (!cell || event.button) return;
    brush = { grid: cell.closest(".mask-grid"), keep: !stays(cell) };
    event.target.releasePointerCapture?.(event.pointerId);  // or a finger stays on its first cell
    paint(cell);
  });
  document.addEventListener("pointermove", (event) => {
    if (brush) paint(maskCell(document.elementFromPoint(event.clientX, event.clientY)));
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    document.addEventListener(kind, () => {
      if (brush) tellMask(brush.grid);
      brush = null;
    });
  }
  document.addEventListener("click", (event) => {
    const fill = event.target.closest("[data-fill]"), cell = maskCell(event.target);
    const grid = fill ? find(`.mask-grid[data-mask="${fill.dataset.mask}"]`) : cell?.closest(".mask-grid");
    if (!grid) return;
    if (cell && event.detail) return;  // the pointer has painted it
    if (cell) cell.setAttribute("aria-selected", String(!stays(cell)));
    else if (fill.dataset.fill !== "invert") window.easelMask(fill.dataset.mask, fill.dataset.fill);
    else for (const each of grid.querySelectorAll("[role=gridcell]")) each.setAttribute("aria-selected", String(!stays(each)));
    tellMask(grid);
  });

  // What is not on this machine, in every list of models (see easel/ui/models/fetch.py) -----------
  function missing() {
    const said = find("#fetch [data-missing]")?.dataset;
    return { away: JSON.parse(said?.missing ?? "{}"), may: said && "may" in said };
  }
  function markMissing(select) {
    const { away, may } = missing();
    let chosen = null;
    for (const option of select.options) {
      const id = JSON.parse(option.value);
      option.dataset.plain ??= option.textContent;
      option.textContent = id in away ? say("{} · not here", option.dataset.plain) : option.dataset.plain;
      if (option.selected && id in away) chosen = option;
    }
    const row = select.closest(".option");
    row.querySelector(".missing-note")?.remove();
    if (!chosen) return;
    const note = element("p", "missing-note", say("{} is not on this machine.", chosen.dataset.plain));
    if (may) {
      const id = JSON.parse(chosen.value);
      const button = element("button", "chip", say("Download {}", away[id]));
      button.type = "button";
      button.dataset.fetch = id;
      note.append(" ", button);
    }
    row.append(note);
  }
  for (const kind of ["pointerdown", "focusin", "change"]) {
    document.addEventListener(kind, (event) => {
      const select = event.target.closest?.("select[data-option]");
      if (select) markMissing(select);
    });
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-fetch]");
    if (!button) return;
    button.disabled = true;
    type("#model-fetch textarea, #model-fetch input", `${button.dataset.fetch} ${Date.now()}`);
  });

  // A button that is drawn anew between the two halves of a press never hears of a click.
  let pressed = null;
  document.addEventListener("pointerdown", (event) => {
    pressed = event.target.closest?.("[data-act]");
  });
  document.addEventListener("pointerup", (event) => {
    const now = pressed && !pressed.isConnected && event.target.closest?.("[data-act]");
    const { act, model } = pressed?.dataset ?? {};
    if (now && now.dataset.act === act && now.dataset.model === model) now.click();
  });

  // The player: frames of a run, turned over by hand or by themselves --------------------------
  const FRAME_MS = 150;
  function turn(player, number) {
    const steps = JSON.parse(player.dataset.steps), last = steps.length - 1;
    player.querySelector("input").value = number;
    player.querySelector("img").src = player.dataset.frames.replace("{}", number);
    player.querySelector("output").textContent = steps[number] === null
      ? say("Preview {} of {}", number + 1, last + 1) : say("Step {}", steps[number]);
  }
  function playing(player, on) {
    clearInterval(player.timer);
    const button = player.querySelector("[data-play]"), slider = player.querySelector("input");
    button.textContent = on ? say("Stop") : say("Play");
    button.setAttribute("aria-pressed", String(on));
    if (!on) return;
    if (slider.value === slider.max) turn(player, 0);
    player.timer = setInterval(() => {
      // The next one once this one is seen; a player that is gone plays no more.
      if (!player.isConnected || slider.value === slider.max) playing(player, false);
      else if (player.querySelector("img").complete) turn(player, Number(slider.value) + 1);
    }, FRAME_MS);
  }
  document.addEventListener("toggle", (event) => {
    if (!event.target.matches?.(".player")) return;
    if (event.target.open) turn(event.target, Number(event.target.querySelector("input").value));
    else playing(event.target, false);
  }, true);
  document.addEventListener("input", (event) => {
    const player = event.target.closest?.(".player");
    if (!player) return;
    playing(player, false);
    turn(player, Number(event.target.value));
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-play]");
    if (button) playing(button.closest(".player"), button.getAttribute("aria-pressed") === "false");
  });

  // A thumbnail at the prompt is taken away by its button, and put back by the one that comes then.
  document.addEventListener("click", (event) => {
    const pressed = event.target.closest("[data-remove], [data-undo]");
    if (!pressed) return;
    const shown = pressed.closest("[id$=-shown]"), act = pressed.dataset.undo ? "undo" : "remove";
    const box = shown.id.replace("-shown", act === "undo" ? "-undone" : "-removed");
    // Pressed once it is on its way; what the server has not answered is asked again with the next,
    // since of presses during an answer Gradio sends the last alone.
    pressed.disabled = true;
    setTimeout(() => { pressed.disabled = false; }, 10000);
    const asked = [...shown.querySelectorAll(`[data-${act}]:disabled`)]
      .map((each) => JSON.parse(each.dataset[act]));
    // The time makes the same list differ from the last.
    type(`#${box} textarea, #${box} input`, JSON.stringify([asked, Date.now()]));
  });

  // Lists of files say how many there are. A picture has its thumbnail, which is fetched once its row
  // is in sight, and one that is alone an × of its own, which Gradio gives to several only.
  const isPicture = /\.(png|jpe?g|webp)$/i;
  const rowsInSight = new IntersectionObserver((seen) => {
    for (const { isIntersecting, target } of seen) {
      if (!isIntersecting) continue;
      rowsInSight.unobserve(target);
      target.style.setProperty("--thumb", `url("${target.dataset.thumb}")`);
    }
  });
  function tellFiles(list) {
    const rows = [...list.querySelectorAll("tr.file")], place = list.closest(".upload");
    const label = place?.querySelector("label[data-testid=block-label]");
    const count = rows.length > 1 ? say("{} files", rows.length) : "";
    if (label && (label.dataset.count ?? "") !== count) label.dataset.count = count;
    for (const row of rows) {
      const name = row.querySelector(".filename")?.getAttribute("aria-label") ?? "";
      const address = row.querySelector("a[href]")?.href ?? "";
      if (isPicture.test(name) && address && row.dataset.thumb !== address) {
        row.dataset.thumb = address;
        rowsInSight.observe(row);
      }
      const own = row.querySelector(".own-clear");
      const clear = [...place?.querySelectorAll(".icon-button") ?? []].at(-1);
      const takesMore = place?.querySelector("input[type=file]");  // else the list's own × is the file's
      if (rows.length > 1 || !clear || !takesMore) own?.remove();
      else if (!own) {
        const cell = element("td", "own-clear"), button = element("button", "label-clear-button", "×");
        button.type = "button";
        button.setAttribute("aria-label", say("Take away: {}", name));
        button.addEventListener("click", () => clear.click());
        cell.append(button);
        row.append(cell);
      }
    }
  }

  // Why a press was refused is seen from wherever it was pressed.
  const told = new WeakSet();
  new MutationObserver(() => {
    for (const alert of document.querySelectorAll(".task-alert .alert")) {
      if (told.has(alert) || !alert.checkVisibility()) continue;
      told.add(alert);
      const { top, bottom } = alert.getBoundingClientRect();
      if (top < 0 || bottom > innerHeight) alert.scrollIntoView({ block: "center" });
    }
  }).observe(document.documentElement, { childList: true, subtree: true });

  // What Gradio leaves to be named: a place for files has other words for those who listen than stand
  // on it, one that takes more the key of a word, and the buttons of its calendars have none; fields of
  // sliders speak English, and choices say the names that programs know. Folds and tabs bring new ones.
  new MutationObserver(() => {
    for (const place of document.querySelectorAll(".upload-container[aria-label]:not(.icon-mode)")) {
      place.removeAttribute("aria-label");
    }
    for (const around of document.querySelectorAll('[aria-label="common.upload"]')) {
      // A button around a button: the inner one is what is pressed.
      around.setAttribute("aria-label", say("Add files"));
      around.title = say("Add files");
      around.setAttribute("role", "group");
      around.tabIndex = -1;
      around.querySelector("button")?.setAttribute("aria-label", say("Add files"));
    }
    for (const button of document.querySelectorAll("button.calendar:not([aria-label])")) {
      button.setAttribute("aria-label", say("Choose a day"));
    }
    for (const label of document.querySelectorAll(".wrap > label[title]")) label.removeAttribute("title");
    if (portuguese) {
      for (const input of document.querySelectorAll('[aria-label^="number input for "]')) {
        input.setAttribute("aria-label", say("number input for {}", input.ariaLabel.slice(17)));
      }
      for (const input of document.querySelectorAll('[aria-label^="range slider for "]')) {
        input.setAttribute("aria-label", say("range slider for {}", input.ariaLabel.slice(17)));
      }
      for (const day of document.querySelectorAll('.time[placeholder="YYYY-MM-DD"]')) {
        day.placeholder = say("YYYY-MM-DD");
      }
    }
    document.querySelectorAll(".upload .file-preview-holder").forEach(tellFiles);
  }).observe(document.documentElement, { childList: true, subtree: true });

  // What has been drawn of a run is said to the server, which sends more then and no sooner (see
  // easel/ui/parts/seen.py). A window that nobody sees has no frames to wait for.
  const FRAME_PATIENCE_MS = 500;
  const drawn = new Map();
  function whenDrawn(act) {
    let waits = true;
    const once = () => { if (waits) act(); waits = false; };
    requestAnimationFrame(once);
    setTimeout(once, document.hidden ? 0 : FRAME_PATIENCE_MS);
  }
  new MutationObserver(() => {
    for (const mark of document.querySelectorAll("#seen [data-seen]")) {
      const [key, version] = mark.dataset.seen.split("/");
      if (drawn.get(key) === version) continue;
      drawn.set(key, version);
      whenDrawn(() => fetch(`seen/${key}/${version}`, { method: "POST" }).catch(() => {}));
    }
  }).observe(document.documentElement, { childList: true, subtree: true, attributes: true,
    attributeFilter: ["data-seen"] });

  // Settings of this browser -----------------------------------------------------------------
  function setting(name) {
    try { return localStorage.getItem(`easel-${name}`); } catch { return null; }
  }
  function remember(name, value) {
    try { localStorage.setItem(`easel-${name}`, value); } catch { /* a browser that keeps nothing */ }
  }
  function follow() {
    find(".gradio-container")?.classList.toggle("ctrl-enter", setting("enter") === "ctrl");
  }
  document.addEventListener("click", (event) => {
    const way = event.target.closest("[data-enter]")?.dataset.enter;
    if (!way) return;
    remember("enter", way);
    follow();
  });

  // What a press could not do, where nothing else on the page says so: Gradio's own notices show
  // only what was queued.
  const ask = window.fetch.bind(window);
  window.fetch = async (...asked) => {
    const answer = await ask(...asked);
    if (answer.status === 500 && answer.url.includes("/gradio_api/run/")) {
      answer.clone().json().then(({ error }) => error && warn(error), () => {});
    }
    return answer;
  };
  function warn(sentence) {
    find("#failed")?.remove();
    const bar = element("div", "alert"), close = element("button", "chip", "×");
    bar.id = "failed";
    close.type = "button";
    close.setAttribute("aria-label", say("Close"));
    close.addEventListener("click", () => bar.remove());
    const said = element("span", "", sentence);
    said.setAttribute("role", "alert");
    bar.append(said, close);
    (find(".gradio-container") ?? document.body).append(bar);
  }

  // The queue -----------------------------------------------------------------------------
  // Asked for again and again while there is one, and after a press; seldom else.
  const QUEUE_MS = 1500, IDLE_MS = 20_000, AFTER_PRESS_MS = 10_000;
  let queueTimer = 0, pressedMs = 0, drawnQueue = "", ticking = null;
  async function call(name, ...data) {
    const answer = await ask(`gradio_api/run/${name}`, {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ data }) });
    return answer.ok ? (await answer.json()).data[0] : null;
  }
  function askSoon(ms) {
    clearTimeout(queueTimer);
    queueTimer = setTimeout(askQueue, ms);
  }
  const ownRuns = () => JSON.parse(sessionStorage.getItem("easel-runs") ?? "{}");
  const wantsNotice = () => setting("notify") === "on" && window.Notification?.permission === "granted";
  async function askQueue() {
    const before = ownRuns();
    if (document.hidden && !(wantsNotice() && Object.keys(before).length)) return;
    const entries = await call("queue").catch(() => null);
    if (entries) {
      drawQueue(entries);
      const own = Object.fromEntries(entries.filter((entry) => entry.own).map(({ id, prompt }) => [id, prompt]));
      sessionStorage.setItem("easel-runs", JSON.stringify(own));
      for (const [id, prompt] of Object.entries(before)) if (!(id in own)) tellEnd(id, prompt);
    }
    askSoon(entries?.length || Date.now() < pressedMs + AFTER_PRESS_MS ? QUEUE_MS : IDLE_MS);
  }
  function drawQueue(entries) {
    const place = find("#queue .queue"), list = place?.querySelector("ol");
    if (!list || list.querySelector("button:active")) return;
    // One's own run alone is on the page already.
    place.hidden = entries.length < 2 && entries.every((entry) => entry.own);
    const now = JSON.stringify(entries);
    if (now === drawnQueue && list.children.length) return;
    drawnQueue = now;
    const focused = document.activeElement?.dataset?.cancel;
    list.replaceChildren(...entries.map(queueLine));
    if (focused) list.querySelector(`[data-cancel="${focused}"]`)?.focus();
  }
  function queueLine(entry) {
    const line = element("li", `${entry.state}${entry.own ? " own" : ""}`);
    const about = entry.own ? entry.prompt || entry.title || say("your run") : say("somebody’s");
    const state = entry.state === "running" ? say("running") : say("waiting");
    const facts = [entry.title === about ? "" : entry.title, state].filter(Boolean).join(" · ");
    line.append(element("b", "", String(entry.position)), element("span", "", about), element("small", "", facts));
    if (!entry.own) return line;
    const cancel = element("button", "", say("Cancel"));
    cancel.type = "button";
    cancel.dataset.cancel = entry.id;
    cancel.setAttribute("aria-label", say("Cancel: {}", about));
    const bar = element("div", "bar"), done = element("span");
    done.style.width = entry.total ? `${100 * entry.step / entry.total}%` : "0";
    bar.append(done);
    line.append(cancel, bar);
    return line;
  }
  function tellEnd(id, prompt) {
    if (!wantsNotice() || (!document.hidden && document.hasFocus())) return;
    try {  // two windows tell it once, by its tag
      const notice = new Notification(say("A run has ended"), { body: prompt, tag: id });
      notice.onclick = () => { window.focus(); notice.close(); };
    } catch { /* a phone, where only installed pages may */ }
  }
  document.addEventListener("click", (event) => {
    pressedMs = Date.now();
    askSoon(600);
    const button = event.target.closest("[data-cancel]");
    if (!button) return;
    button.disabled = true;
    // Whoever ends it need not be told.
    const { [button.dataset.cancel]: _, ...others } = ownRuns();
    sessionStorage.setItem("easel-runs", JSON.stringify(others));
    call("cancel", button.dataset.cancel).catch(() => null).finally(() => askSoon(0));
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    pressedMs = Date.now();
    askSoon(600);
  });
  document.addEventListener("visibilitychange", () => {
    ticking?.terminate();
    ticking = null;
    if (!document.hidden) return askSoon(0);
    if (!wantsNotice() || !Object.keys(ownRuns()).length) return;
    // Browsers slow the timers of hidden pages down to one tick a minute, but not a worker's.
    ticking = new Worker(URL.createObjectURL(new Blob([`setInterval(() => postMessage(0), ${QUEUE_MS})`])));
    ticking.onmessage = askQueue;
  });
  document.addEventListener("change", async (event) => {
    if (event.target.id !== "notify") return;
    const asks = event.target.checked;
    const granted = asks && await Notification.requestPermission() === "granted";
    event.target.checked = granted;
    find("[data-notify]").hidden = granted || !asks;
    find("[data-notify]").textContent = granted ? ""
      : say("This browser does not let Easel notify you: allow it in the browser’s settings.");
    remember("notify", granted ? "on" : "off");
  });
  function openQueue() {
    askSoon(0);
    if (!("Notification" in window)) return;  // as where the page comes without TLS
    find("#queue .notify").hidden = false;
    find("#notify").checked = wantsNotice();
  }

  // Addresses and the projector ---------------------------------------------------------------
  // ?tab=lab.matrix, ?lesson=dalle, ?lesson=4 of the path, ?present, and ?prompt=…&seed=… (see easel/ui/generate/address.py).
  const asked = new URLSearchParams(location.search);
  const PARTED = ["lab", "inside"];  // tabs with tabs in them
  const MOVED = { "lab.walk": "inside.walk" };  // addresses that were given out before
  function openTab(path) {
    const [name, part] = (MOVED[path] ?? path).split(".");
    find(`#tabs > .tab-wrapper [data-tab-id="${CSS.escape(name)}"]`)?.click();
    if (!PARTED.includes(name) || !part) return;
    let frames = 600;  // what is in a tab is there once it is open
    const choose = () => {
      const found = find(`#${name} .lab-parts > .tab-wrapper [data-tab-id="${CSS.escape(part)}"]`);
      if (found) found.click();
      else if (--frames) requestAnimationFrame(choose);
    };
    choose();
  }
  function present(on) {
    find(".gradio-container")?.classList.toggle("presenting", on);
    find("[data-present]")?.setAttribute("aria-pressed", String(on));
  }
  function openAsked() {
    if (!find("#generate:not(:disabled)") || !find("#tabs > .tab-wrapper [data-tab-id]")) {
      return void requestAnimationFrame(openAsked);
    }
    follow();
    openQueue();
    if (asked.has("tab")) openTab(asked.get("tab"));
    if (asked.has("present")) present(true);
    if (asked.has("lesson")) openLesson(asked.get("lesson"));
  }
  // For as long as the page is still being put together, and nobody has touched it.
  function openLesson(name) {
    const untilMs = Date.now() + 3000, step = /^[1-8]$/.test(name);
    if (step) openTab("inside.path");
    const hold = () => {
      const lesson = find(`[data-${step ? "step" : "lesson"}="${CSS.escape(name)}"]`);
      if (lesson) {
        if (!step) lesson.open = true;
        lesson.scrollIntoView({ block: "start" });
      }
      if (!touchedMs && (Date.now() < untilMs || !lesson)) requestAnimationFrame(hold);
    };
    hold();
  }
  // Once the rest of this file has run, whose words it needs.
  requestAnimationFrame(openAsked);

  const MOST_QUERY_CHARS = 2000;
  function address(settings) {
    const chosen = (row) => find(`${row} > .tab-wrapper [aria-selected=true]`)?.dataset.tabId;
    const tab = chosen("#tabs") ?? "generate";
    const query = new URLSearchParams();
    const part = PARTED.includes(tab) && chosen(`#${tab} .lab-parts`);
    if (part) query.set("tab", `${tab}.${part}`);
    else if (tab !== "generate") query.set("tab", tab);
    const prompt = find("#prompt textarea")?.value.trim();
    const left = [];
    const add = (name, value) => {
      query.set(name, value);
      if (String(query).length <= MOST_QUERY_CHARS) return;
      query.delete(name);
      left.push(name);
    };
    if (tab === "generate" && prompt) add("prompt", prompt);
    for (const [name, value] of settings) add(name, value);
    if (find(".gradio-container.presenting")) query.set("present", "");
    return [`${location.pathname}?${query}`, left];
  }
  // What of Generate is not at its default, as pairs (see easel/ui/generate/address.py): with each generator's
  // usual number of pictures and whether it is ticked, and then all that are ticked and all numbers.
  window.easelLink = (generators, seed, best, options, values) => {
    const pairs = [], now = generators.map(([name, usual, ticked], at) => ({ name, usual, ticked,
      on: Boolean(values[2 * at]), count: Number(values[2 * at + 1]) || usual }));
    if (now.some((each) => each.on !== each.ticked || (each.on && each.count !== each.usual))) {
      pairs.push(["generators", now.filter((each) => each.on).map((each) => (
        each.count === each.usual ? each.name : `${each.name}*${each.count}`)).join(" ")]);
    }
    if (/^\d+$/.test(String(seed ?? "").trim())) pairs.push(["seed", String(seed).trim()]);
    if (Number(best) > 0) pairs.push(["best", best]);
    for (const { name } of now.filter((each) => each.on)) {
      for (const [option, value] of Object.entries(JSON.parse(options || "{}")[name] ?? {})) {
        pairs.push([`${name}.${option}`, value]);
      }
    }
    link(pairs);
  };
  let unheard;  // what a press of Link comes to where Gradio does not answer
  function link(settings) {
    clearTimeout(unheard);
    const button = find("[data-link]"), [found, left] = address(settings);
    history.replaceState(history.state, "", found);
    showAddress(button, left);
    navigator.clipboard?.writeText(location.href).then(() => {
      const said = button.dataset.said ??= button.textContent;
      button.textContent = say("Copied");
      setTimeout(() => { button.textContent = said; }, 1500);
    }, () => { /* it stands in the address bar all the same */ });
  }
  // The address as a picture too, for the phones of a class.
  function showAddress(link, left) {
    document.getElementById("address")?.remove();
    const shown = document.createElement("div"), code = document.createElement("img");
    const text = document.createElement("p");
    shown.id = "address";
    shown.popover = "auto";
    code.src = `qr.svg?address=${encodeURIComponent(location.href)}`;
    code.alt = say("QR code of this address");
    code.onerror = () => {
      code.replaceWith(say("The address is too long for a QR code: shorten the prompt."));
    };
    text.textContent = location.href;
    shown.append(code, text);
    if (/^(localhost|127\.|\[::1\])/.test(location.hostname)) {
      const near = document.createElement("p");
      near.className = "hint";
      near.textContent = say("Only this machine knows this address: phones need the one by which your network knows it.");
      shown.append(near);
    }
    if (left.length) shown.append(element("p", "hint", say("Left out, because the address would be too long: {}.", left.join(", "))));
    link.after(shown);
    shown.showPopover();
  }
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-link]")) {
      // Of fields behind a fold Gradio alone knows the values; it may not be there yet, or be busy.
      if (find("#tabs > .tab-wrapper [data-tab-id=generate][aria-selected=true]")) {
        clearTimeout(unheard);
        unheard = setTimeout(link, 3000, []);
        type("#link-press :is(textarea, input)", String(Date.now()));
      } else link([]);
    } else if (event.target.closest("[data-present]")) {
      present(!find(".gradio-container.presenting"));
    }
  });

  // The path: its lessons lead to the views, where a strip of them stays, and print whole.
  let strip = null;
  function keepStrip(template) {
    strip?.remove();
    strip = template?.content.firstElementChild.cloneNode(true) ?? null;
    if (strip) find("#tabs > .tab-wrapper").after(strip);
  }
  function landOn(selector) {
    let frames = 600;  // what is in a tab is there once it is open
    const land = () => {
      const found = find(selector);
      if (found?.checkVisibility()) {
        if (found.matches("details")) found.open = true;
        (found.querySelector(":scope > summary") ?? found).focus({ preventScroll: true });
        found.scrollIntoView({ block: "start" });
      } else if (--frames) requestAnimationFrame(land);
    };
    land();
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-go], [data-path], [data-explains]");
    const plain = !(event.ctrlKey || event.metaKey || event.shiftKey || event.button);
    if (link && plain) {
      event.preventDefault();
      const { go, path, explains } = link.dataset, from = link.closest("[data-step]");
      openTab(go ?? (path ? "inside.path" : "generate"));
      if (from) keepStrip(from.querySelector("template"));
      if (go) scrollTo(0, 0);
      else landOn(path ? `#lesson-${path}` : `[data-lesson="${CSS.escape(explains)}"]`);
    } else if (event.target.closest("[data-leave]")) keepStrip(null);
    else if (strip && event.isTrusted && event.target.closest('#inside [data-tab-id="path"]')) landOn(`#lesson-${strip.querySelector("[data-path]").dataset.path}`);
    else if (event.target.closest("[data-print]")) print();
  });
  let unfolded = [];
  addEventListener("beforeprint", () => {
    if (!find("#path")?.checkVisibility()) return;
    unfolded = [...document.querySelectorAll("#path details:not([open])")];
    for (const each of unfolded) each.open = true;
    find(".gradio-container")?.classList.add("printing-path");
  });
  addEventListener("afterprint", () => {
    for (const each of unfolded) each.open = false;
    find(".gradio-container")?.classList.remove("printing-path");
  });

  // The history: what is ticked, and hearts --------------------------------------------------
  function ticked() {
    return [...document.querySelectorAll("#kept [data-pick]:checked")].map((box) => box.dataset.pick);
  }
  function actOnKept(act, ids) {
    type("#kept-act textarea, #kept-act input", `${act} ${ids} ${Date.now()}`);
  }
  document.addEventListener("change", (event) => {
    const { star, pick } = event.target.dataset ?? {};
    if (star) actOnKept(event.target.checked ? "star" : "unstar", star);
    else if (pick) {
      find("#kept-bar b").textContent = say("{} selected", ticked().length);
      find('#kept-bar [data-kept="two"]').disabled = ticked().length !== 2;
    }
  });
  document.addEventListener("input", (event) => {
    if ("two" in (event.target.dataset ?? {})) {
      event.target.previousElementSibling.style.setProperty("--at", `${event.target.value}%`);
    }
  });
  document.addEventListener("click", (event) => {
    const act = event.target.closest("[data-kept]")?.dataset.kept;
    if (!act) return;
    if (act !== "none") actOnKept(act, ticked().join());
    if (act === "two") find("#kept-two")?.scrollIntoView({ block: "center" });
    for (const box of document.querySelectorAll("#kept [data-pick]:checked")) box.checked = false;
  });

  // Rerank --------------------------------------------------------------------------------
  // More files than may be sent are refused before any is; the server refuses them as well.
  function tooMany(event, files) {
    const said = event.target.closest?.("#rerank-files") && find("#rerank-limit p");
    if (!said || !files) return;
    said.hidden = files.length <= Number(said.dataset.most);
    if (said.hidden) return;
    event.stopPropagation();
    event.preventDefault();
    said.textContent = say("{} pictures are too many: {} is the most.", files.length, said.dataset.most);
    if (event.target.type === "file") event.target.value = "";
  }
  document.addEventListener("change", (event) => tooMany(event, event.target.files), true);
  document.addEventListener("drop", (event) => tooMany(event, event.dataTransfer?.files), true);

  // A head of a table sorts by its column, the first time in its own direction.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-sort]");
    if (!button) return;
    const head = button.closest("th"), heads = [...head.parentElement.children];
    const column = heads.indexOf(head), body = head.closest("table").tBodies[0];
    const now = head.getAttribute("aria-sort");
    const up = now === "none" ? button.dataset.sort > 0 : now !== "ascending";
    for (const other of heads) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = (row) => Number(row.children[column].dataset.value) * (up ? 1 : -1);
    body.append(...[...body.rows].sort((one, other) => value(one) - value(other)));
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

  // A list of Gradio's opens again when the Tab key leaves it, whose press it reads after that.
  addEventListener("keydown", (event) => {
    if (event.key === "Tab" && event.target.matches?.("input[role=combobox]")) event.stopPropagation();
  }, true);

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
    const withCtrl = event.ctrlKey || event.metaKey;
    if (event.key === "Enter" && !event.isComposing && event.target.matches?.("#prompt textarea")) {
      event.stopPropagation();
      if (event.shiftKey || (setting("enter") === "ctrl" && !withCtrl)) return;
      event.preventDefault();
      if (!event.repeat) press("#generate", "#queue-add");
    } else if (event.key === "Enter" && withCtrl) {
      event.preventDefault();
      if (event.target.closest?.("#sweep")) press("#sweep-run", "#sweep-add");
      else press("#generate", "#queue-add", "#compare-run", "#rerank-run", "#walk-run", ".lab-buttons .primary");
    } else if (event.key === "Escape" && !dialog?.open) {
      press("#stop", "#compare-stop", "#sweep-stop", "#walk-stop", ".lab-stop");
    } else if (dialog?.open && (event.key === "ArrowRight" || event.key === "ArrowLeft")) {
      step(event.key === "ArrowRight" ? 1 : -1);
    } else if ((event.key === "ArrowLeft" || event.key === "ArrowRight")
      && !event.target.closest?.("input, textarea, select, [role=tab]")) {
      press(event.key === "ArrowLeft" ? "#history-newer" : "#history-older");
    } else if (event.target.matches?.(".examples [role=tab]") && event.key.startsWith("Arrow")) {
      const tabs = [...event.target.parentElement.querySelectorAll("[role=tab]")];
      const by = event.key === "ArrowRight" || event.key === "ArrowDown" ? 1 : -1;
      const next = tabs[(tabs.indexOf(event.target) + by + tabs.length) % tabs.length];
      openKind(next);
      next.focus();
    }
  }, true);
})();
