// The wall: asked for again and again, and only what has changed is drawn. Texts are set as text.
(() => {
  const POLL_MS = 1500;
  const find = (selector) => document.querySelector(selector);
  const words = JSON.parse(find("#words").textContent);
  const say = (name, ...values) => values.reduce((said, value) => said.replace("{}", () => value), words[name]);
  const tiles = new Map();  // by picture: its figure
  let now = null, timer = 0, plain = false, asked = 0;

  function element(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }
  function put(place, text) {  // only where it is another, so that listeners are told once
    if (place.textContent !== text) place.textContent = text;
  }
  function button(act, className) {
    const made = element("button", className);
    made.type = "button";
    made.dataset.act = act;
    return made;
  }
  function complain(text) {
    const place = find(".alert");
    put(place, text ?? "");
    place.hidden = !text;
  }

  // Asking --------------------------------------------------------------------------------
  async function ask(path, options) {
    const mine = ++asked;
    const answer = await fetch(path, options);
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.detail);
    if (mine === asked) draw(told);  // not what an earlier question brings later
  }
  async function look() {
    clearTimeout(timer);
    if (document.hidden) return;
    try {
      await ask(`wall/state?order=${find("[name=order]:checked").value}`, { cache: "no-store" });
      if (find(".alert").dataset.lost) { complain(); delete find(".alert").dataset.lost; }
    } catch {
      complain(say("lost"));
      find(".alert").dataset.lost = "1";
    }
    clearTimeout(timer);
    timer = setTimeout(look, POLL_MS);
  }
  async function act(fields) {
    try {
      complain();
      await ask(`wall/act?order=${find("[name=order]:checked").value}`, {
        method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(fields) });
    } catch (error) {
      complain(error instanceof TypeError ? say("lost") : error.message);
    }
  }

  // Drawing -------------------------------------------------------------------------------
  function build(id) {
    const figure = element("figure");
    const frame = element("button", "frame");
    frame.type = "button";
    frame.dataset.open = id;
    const image = element("img");
    image.decoding = "async";
    frame.append(image);
    const caption = element("figcaption"), votes = element("div", "acts"), acts = element("div", "acts");
    caption.append(element("span", "prompt"), element("span", "by"), element("span", "why"), votes, acts);
    votes.append(button("vote", "vote"), button("hand", "lead hand"), button("unhand", "lead unhand"));
    acts.append(button("pin", "lead pin"), button("hide", "lead hide"), button("take_down", "own"));
    for (const each of caption.querySelectorAll("button")) each.dataset.picture = id;
    figure.append(frame, caption);
    return figure;
  }
  function fill(figure, picture) {
    const part = (name) => figure.querySelector(name);
    const image = part("img"), kept = picture.state !== "shown";
    if (!image.src) {
      image.width = picture.width_px;
      image.height = picture.height_px;
      figure.style.setProperty("--ratio", picture.width_px / picture.height_px);
      image.src = `wall/${picture.id}/picture`;
    }
    image.alt = picture.prompt;
    part(".frame").setAttribute("aria-label", say("large", picture.prompt));
    figure.classList.toggle("pinned", picture.pinned);
    figure.classList.toggle("kept", kept);
    put(part(".prompt"), picture.prompt);
    put(part(".by"), picture.by);
    put(part(".why"), kept ? say(picture.state, picture.label) : "");
    const vote = part(".vote");
    vote.hidden = kept;
    vote.dataset.act = picture.voted ? "unvote" : "vote";
    put(vote, `♥ ${picture.votes}`);
    vote.setAttribute("aria-pressed", String(picture.voted));
    vote.setAttribute("aria-label", say("vote", picture.prompt, picture.votes));
    part(".own").hidden = !picture.own;
    put(part(".own"), say("take_down"));
    const pin = part(".pin"), hide = part(".hide");
    for (const each of figure.querySelectorAll(".lead")) each.hidden = !now.leads;
    pin.dataset.act = picture.pinned ? "unpin" : "pin";
    put(pin, say(pin.dataset.act));
    hide.dataset.act = kept ? "show" : "hide";
    put(hide, say(hide.dataset.act));
    put(part(".hand"), say("hand"));
    put(part(".unhand"), "−1"); // beside “+1 hand”, with which it shares a row on every screen
    part(".hand").hidden ||= kept;
    part(".unhand").hidden ||= kept || !picture.votes;
    for (const each of figure.querySelectorAll(".acts :not(.vote)")) {
      const said = each.matches(".unhand") ? say("unhand") : each.textContent;
      each.setAttribute("aria-label", `${said}: ${picture.prompt}`);
    }
  }
  function draw(told) {
    now = told;
    const place = find("#tiles"), there = new Set(told.pictures.map(({ id }) => id));
    for (const [id, figure] of tiles) {
      if (there.has(id)) continue;
      figure.remove();
      tiles.delete(id);
      if (find("dialog").open && find("dialog").dataset.picture === id) find("dialog").close();
    }
    told.pictures.forEach((picture, index) => {
      if (!tiles.has(picture.id)) tiles.set(picture.id, build(picture.id));
      const figure = tiles.get(picture.id);
      fill(figure, picture);
      if (place.children[index] !== figure) place.insertBefore(figure, place.children[index] ?? null);
    });
    find("#empty").hidden = told.pictures.length > 0;
    const state = find("#now");
    put(state, told.suspended ? say("stopped")
      : told.running + told.waiting ? say("now", told.running, told.waiting) : "");
    state.classList.toggle("stopped", told.suspended);
    find("#lead").hidden = find("#controls").hidden = !told.leads;
    find("[data-act=stop]").hidden = told.suspended;
    find("[data-act=go]").hidden = !told.suspended;
    find("#enter").hidden = !told.may_enter;
    const labels = find("#labels");
    if (labels.hidden && told.labels) {
      for (const name of ["held", "fine"]) find(`#${name}`).value = told.labels[name].join("\n");
    }
    labels.hidden = !told.labels;
  }
  function show(id) {
    const picture = now.pictures.find((each) => each.id === id), dialog = find("dialog");
    const image = element("img");
    image.src = `wall/${id}/picture`;
    image.alt = picture.prompt;
    const close = element("button", "close", "×");
    close.type = "button";
    close.setAttribute("aria-label", say("close"));
    close.addEventListener("click", () => dialog.close());
    dialog.dataset.picture = id;
    dialog.replaceChildren(close, image, element("span", "prompt", picture.prompt));
    dialog.showModal();
  }

  document.addEventListener("click", (event) => {
    const pressed = event.target.closest("button");
    if (event.target.matches("dialog")) event.target.close();
    else if (pressed?.dataset.open) show(pressed.dataset.open);
    else if (pressed?.id === "controls") {
      plain = !plain;
      document.body.classList.toggle("plain", plain);
      pressed.setAttribute("aria-pressed", String(!plain));
    } else if (pressed?.id === "save-labels") {
      act({ act: "labels", held: find("#held").value, fine: find("#fine").value });
    } else if (pressed?.dataset.act && (!pressed.dataset.ask || confirm(pressed.dataset.ask))) {
      act({ act: pressed.dataset.act, picture: pressed.dataset.picture ?? "" });
    }
  });
  find("#enter").addEventListener("submit", (event) => {
    event.preventDefault();
    const field = event.target.querySelector("input");
    act({ act: "enter", password: field.value });
    field.value = "";
  });
  document.addEventListener("change", (event) => event.target.name === "order" && look());
  document.addEventListener("visibilitychange", look);
  // This machine's own name helps nobody else.
  const place = find("#address"), link = place.querySelector("a");
  put(link, location.host + location.pathname.replace(/wall\/?$/, "").replace(/\/$/, ""));
  place.hidden = /^(localhost|127\.|\[::1\])/.test(location.hostname);
  look();
})();
