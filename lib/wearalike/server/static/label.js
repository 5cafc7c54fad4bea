// Boxes of a picture, by mouse, touch and keyboard. The form's hidden field `boxes` is what is saved.
const form = document.querySelector("form.labelling");
const CORNERS = ["x0", "y0", "x1", "y1"];
const LABELS = ["class", "leaf", "colour", "pattern"];
const STEP_SHARE = 0.01; // of the longer side, for arrow keys
const CLICK_PX = 5; // a shorter drag is a click
const COALESCE_MS = 800; // arrow keys in quick succession are one step to undo

if (form) start();

function start() {
  const width = +form.dataset.width, height = +form.dataset.height, minPx = +form.dataset.minPx;
  const stage = form.querySelector(".stage"), svg = stage.querySelector("svg"), layer = svg.querySelector("g");
  const list = form.querySelector(".boxes"), fields = form.querySelector("fieldset"), said = form.querySelector(".said");
  const letters = form.querySelector("#letters");
  const draftKey = `label ${form.labeller.value} ${form.mode.value} ${form.picture.value}`;
  const saved = form.boxes.value;
  let boxes = JSON.parse(saved), chosen = -1, past = [], nudgedAt = 0, drag = null, isSent = false;

  const say = (text) => { said.textContent = text; };
  const isDirty = () => JSON.stringify(boxes) !== JSON.stringify(JSON.parse(saved));
  const clamp = (value, low, high) => Math.min(high, Math.max(low, Math.round(value)));
  const name = (n) => `Box ${n + 1}, ${boxes[n].class || "no class"}`;
  const place = (b) => `left ${b.x0}, top ${b.y0}, ${b.x1 - b.x0} by ${b.y1 - b.y0} px`;

  // A draft outlives a refused or forgotten save, and is of the labels that it began with.
  function readDraft() {
    const draft = JSON.parse(localStorage.getItem(draftKey) || "null");
    if (draft && draft.savedAt === form.dataset.savedAt && draft.boxes !== JSON.stringify(boxes)) {
      boxes = JSON.parse(draft.boxes);
      say("Your unsaved boxes are back.");
    } else localStorage.removeItem(draftKey);
  }
  function keepDraft() {
    if (isDirty()) localStorage.setItem(draftKey, JSON.stringify({ savedAt: form.dataset.savedAt, boxes: JSON.stringify(boxes) }));
    else localStorage.removeItem(draftKey);
  }

  function change(action, text, isNudge = false) {
    const now = performance.now();
    if (!isNudge || now - nudgedAt > COALESCE_MS) past.push({ boxes: JSON.stringify(boxes), chosen });
    nudgedAt = isNudge ? now : 0;
    action();
    keepDraft();
    render();
    say(typeof text === "function" ? text() : text);
  }
  function undo() {
    const before = past.pop();
    if (!before) return say("Nothing to undo.");
    boxes = JSON.parse(before.boxes);
    chosen = Math.min(before.chosen, boxes.length - 1);
    nudgedAt = 0;
    keepDraft();
    render();
    say("Undone.");
  }

  function element(tag, attributes) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }
  function scale() { return svg.getScreenCTM()?.a || 1; }
  function draw() {
    const unit = 1 / scale();
    layer.replaceChildren();
    boxes.forEach((b, n) => {
      const at = { x: b.x0, y: b.y0, width: b.x1 - b.x0, height: b.y1 - b.y0 };
      const group = element("g", { class: n === chosen ? "box chosen" : "box", "data-box": n });
      const text = element("text", { x: b.x0 + 5 * unit, y: b.y0 + 17 * unit, "font-size": 15 * unit });
      text.textContent = n + 1;
      group.append(element("rect", { ...at, class: "halo" }), element("rect", at), text);
      layer.append(group);
    });
    const b = boxes[chosen];
    for (const [fx, fy] of b ? [[0, 0], [.5, 0], [1, 0], [0, .5], [1, .5], [0, 1], [.5, 1], [1, 1]] : []) {
      const x = b.x0 + fx * (b.x1 - b.x0), y = b.y0 + fy * (b.y1 - b.y0);
      const grip = element("g", { class: "grip", "data-grip": `${fx} ${fy}` });
      for (const side of [24, 9]) grip.append(element("rect", { x: x - side * unit / 2, y: y - side * unit / 2, width: side * unit, height: side * unit }));
      layer.append(grip);
    }
  }
  function addListButton(n) {
    const item = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    button.className = "plain";
    button.addEventListener("click", () => choose(n));
    item.append(button);
    list.append(item);
  }
  function render() {
    draw();
    // Buttons stay the same elements: a click that ends a change of a field must reach its button.
    while (list.children.length > boxes.length) list.lastChild.remove();
    while (list.children.length < boxes.length) addListButton(list.children.length);
    boxes.forEach((b, n) => {
      const button = list.children[n].firstChild;
      button.setAttribute("aria-pressed", n === chosen);
      button.textContent = LABELS.map((label) => b[label]).filter(Boolean).join(", ") || "no class yet";
    });
    const b = boxes[chosen];
    fields.disabled = !b;
    for (const input of fields.querySelectorAll("input")) {
      input.value = b ? b[input.dataset.label || input.dataset.corner] ?? "" : "";
      input.removeAttribute("aria-invalid");
    }
    const own = b?.class && [...form.querySelectorAll("#list-class option")].find((o) => o.value === b.class)?.dataset.super;
    for (const option of form.querySelectorAll("#list-leaf option")) option.disabled = Boolean(own) && option.dataset.super !== own;
    form.boxes.value = JSON.stringify(boxes);
  }
  function choose(n, isSpoken = true) {
    chosen = n;
    nudgedAt = 0;
    render();
    if (list.contains(document.activeElement)) list.children[n]?.firstChild.focus();
    if (boxes[n] && isSpoken) say(`${name(n)}: ${place(boxes[n])}.`);
  }

  function addBox(box) {
    if (boxes.length >= +form.dataset.maxBoxes) return say(`At most ${form.dataset.maxBoxes} boxes.`);
    change(() => { boxes.push({ ...box, class: "" }); chosen = boxes.length - 1; }, () => `${name(chosen)}: ${place(boxes[chosen])}. Say what it is.`);
  }
  function newBox() {
    addBox({ x0: Math.round(width / 4), y0: Math.round(height / 4), x1: Math.round(width * 3 / 4), y1: Math.round(height * 3 / 4) });
    stage.focus({ preventScroll: true });
  }
  function takeProposals() {
    const proposals = JSON.parse(form.dataset.proposals);
    if (!proposals.length) return say("The detector saw nothing.");
    const isHere = (p) => boxes.some((b) => ["x0", "y0", "x1", "y1"].every((side) => b[side] === p[side]));
    const added = proposals.filter((p) => !isHere(p)).slice(0, +form.dataset.maxBoxes - boxes.length);
    if (!added.length) return say("The detector's boxes are here already.");
    change(() => { boxes.push(...added); chosen = boxes.length - 1; }, `${added.length} boxes of the detector. Check each.`);
  }
  function removeBox() {
    if (!boxes[chosen]) return say("No box is chosen.");
    const gone = name(chosen);
    change(() => { boxes.splice(chosen, 1); chosen = Math.min(chosen, boxes.length - 1); }, `${gone}: deleted.`);
    stage.focus({ preventScroll: true });
  }
  function moved(b, dx, dy) {
    const w = b.x1 - b.x0, h = b.y1 - b.y0, x0 = clamp(b.x0 + dx, 0, width - w), y0 = clamp(b.y0 + dy, 0, height - h);
    return { ...b, x0, y0, x1: x0 + w, y1: y0 + h };
  }
  function fitted(b) {
    const [x0, x1] = [Math.min(b.x0, b.x1), Math.max(b.x0, b.x1)], [y0, y1] = [Math.min(b.y0, b.y1), Math.max(b.y0, b.y1)];
    const left = clamp(x0, 0, width - minPx), top = clamp(y0, 0, height - minPx);
    return { ...b, x0: left, y0: top, x1: clamp(x1, left + minPx, width), y1: clamp(y1, top + minPx, height) };
  }
  function nudge(event) {
    const step = event.ctrlKey || event.metaKey ? 1 : Math.max(1, Math.round(Math.max(width, height) * STEP_SHARE));
    const dx = { ArrowLeft: -step, ArrowRight: step }[event.key] || 0, dy = { ArrowUp: -step, ArrowDown: step }[event.key] || 0;
    const b = boxes[chosen];
    const size = { ...b, x1: Math.max(b.x0 + minPx, b.x1 + dx), y1: Math.max(b.y0 + minPx, b.y1 + dy) };
    change(() => { boxes[chosen] = event.shiftKey ? fitted(size) : moved(b, dx, dy); }, () => place(boxes[chosen]), true);
  }

  // The value of a list that a text means: itself, or the only one with the text in value or name.
  function findValue(label, text) {
    const options = [...form.querySelector(`#list-${label}`).options].filter((o) => !o.disabled || o.value === text);
    const wanted = text.trim().toLowerCase();
    const exact = options.find((o) => o.value === wanted);
    if (!wanted || exact) return [wanted];
    return options.filter((o) => `${o.value} ${o.label}`.toLowerCase().includes(wanted)).map((o) => o.value);
  }
  function takeLabel(input) {
    const label = input.dataset.label, found = findValue(label, input.value);
    const isGood = found.length === 1;
    if (!isGood) {
      input.setAttribute("aria-invalid", "true");
      say(found.length ? `${label}: ${found.length} words have “${input.value}”: ${found.slice(0, 4).join(", ")}…` : `${label}: no word of the list has “${input.value}”.`);
      return false;
    }
    if ((boxes[chosen][label] ?? "") !== found[0]) change(() => { boxes[chosen][label] = found[0]; }, () => `${name(chosen)}: ${label} ${found[0] || "open"}.`);
    else input.value = found[0];
    return true;
  }
  fields.addEventListener("change", (event) => {
    const input = event.target;
    if (!boxes[chosen]) return;
    if (input.dataset.label) takeLabel(input);
    else change(() => { boxes[chosen] = fitted({ ...boxes[chosen], [input.dataset.corner]: Number(input.value) || 0 }); }, () => place(boxes[chosen]));
  });
  fields.addEventListener("input", (event) => event.target.removeAttribute("aria-invalid"));
  fields.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault();
    const input = event.target;
    if (event.key === "Escape") render();
    else if (input.dataset.label ? !takeLabel(input) : !input.dispatchEvent(new Event("change", { bubbles: true }))) return;
    stage.focus({ preventScroll: true });
  });

  // Pointer: a drag on free ground draws, on a box moves, on a grip changes the size. Shift draws over boxes.
  // A finger on free ground scrolls the page; the button makes its boxes.
  function point(event) {
    const p = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return { x: p.x, y: p.y };
  }
  svg.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || drag) return;
    const grip = event.target.closest("[data-grip]"), box = event.target.closest("[data-box]");
    if (!grip && !box && event.pointerType === "touch") return;
    event.preventDefault();
    stage.focus({ preventScroll: true });
    const from = point(event);
    if (grip && !event.shiftKey) drag = { kind: "size", grip: grip.dataset.grip.split(" ").map(Number) };
    else if (box && !event.shiftKey) { choose(+box.dataset.box); drag = { kind: "move" }; }
    else drag = { kind: "draw" };
    Object.assign(drag, { from, screen: [event.clientX, event.clientY], before: JSON.stringify(boxes), was: chosen, isFar: false });
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const { x, y } = point(event);
    drag.isFar ||= Math.hypot(event.clientX - drag.screen[0], event.clientY - drag.screen[1]) >= CLICK_PX;
    if (!drag.isFar) return;
    const was = JSON.parse(drag.before), b = was[chosen];
    if (drag.kind === "draw") {
      if (was.length >= +form.dataset.maxBoxes) return;
      boxes = [...was, fitted({ x0: drag.from.x, y0: drag.from.y, x1: x, y1: y, class: "" })];
      drag.added = boxes.length - 1;
    } else if (drag.kind === "move") boxes[chosen] = moved(b, x - drag.from.x, y - drag.from.y);
    else {
      const [fx, fy] = drag.grip, next = { ...b };
      if (fx !== .5) next[fx ? "x1" : "x0"] = x;
      if (fy !== .5) next[fy ? "y1" : "y0"] = y;
      boxes[chosen] = fitted(next);
    }
    draw();
  });
  function endDrag(event) {
    if (!drag) return;
    const { before, was, isFar, added, kind } = drag;
    const now = boxes;
    drag = null;
    boxes = JSON.parse(before);
    if (event.type === "pointercancel") { chosen = was; return render(); }
    if (!isFar) return kind === "draw" ? choose(-1) : render();
    change(() => { boxes = now; if (added !== undefined) chosen = added; }, () => `${name(chosen)}: ${place(boxes[chosen])}.`);
  }
  svg.addEventListener("pointerup", endDrag);
  svg.addEventListener("pointercancel", endDrag);

  const tools = { n: newBox, t: takeProposals, Delete: removeBox, Backspace: removeBox, u: undo };
  for (const button of form.querySelectorAll("button[data-key]")) button.addEventListener("click", tools[button.dataset.key]);

  function press(action, then = "") {
    form.then.value = then;
    form.requestSubmit(form.querySelector(`button[value="${action}"]`));
  }
  for (const link of form.querySelectorAll("a[data-then]")) {
    link.addEventListener("click", (event) => {
      if (!isDirty()) return;
      event.preventDefault();
      press("save", link.dataset.then);
    });
  }
  form.addEventListener("submit", (event) => {
    const bare = event.submitter?.value === "skip" ? -1 : boxes.findIndex((b) => !b.class);
    if (bare >= 0) {
      event.preventDefault();
      choose(bare, false);
      form.then.value = "";
      say(`Box ${bare + 1} has no class yet.`);
      return fields.querySelector("[data-label=class]").focus();
    }
    if (isSent) event.preventDefault(); // a second key press must not save twice
    isSent = true;
  });
  addEventListener("pageshow", () => { isSent = false; });

  // A letter by what it writes, else by its place on the keyboard: other alphabets have no "n".
  const keyOf = (event) => /^[a-z]$/i.test(event.key) || !/^Key[A-Z]$/.test(event.code) ? (event.key.length === 1 ? event.key.toLowerCase() : event.key) : event.code[3].toLowerCase();
  addEventListener("keydown", (event) => {
    const key = keyOf(event), isField = event.target.matches("input, select, textarea");
    if ((event.ctrlKey || event.metaKey) && key === "z" && !isField) { event.preventDefault(); return undo(); }
    if (isField || event.altKey) return;
    if (key.startsWith("Arrow")) {
      if (boxes[chosen] && (event.target === document.body || form.contains(event.target))) { event.preventDefault(); nudge(event); }
      return;
    }
    if (event.ctrlKey || event.metaKey) return;
    if (key === "Enter") {
      if (event.target.matches("button, a, summary") || event.repeat) return; // these have their own Enter
      event.preventDefault();
      return press("save");
    }
    if (key === "Delete" || key === "Backspace") { event.preventDefault(); return removeBox(); }
    if (!letters.checked || event.repeat) return;
    const field = { c: "class", l: "leaf", o: "colour", p: "pattern" }[key];
    const link = form.querySelector(`a[data-key="${key}"]`);
    if (tools[key]) tools[key]();
    else if (field && boxes[chosen]) fields.querySelector(`[data-label=${field}]`).select();
    else if (field) say("No box is chosen.");
    else if (/^[1-9]$/.test(key) && boxes[chosen]) {
      const option = form.querySelectorAll("#list-class option")[key - 1];
      change(() => { boxes[chosen].class = option.value; }, () => `${name(chosen)}.`);
    } else if ((key === "," || key === ".") && boxes.length) choose((chosen + (key === "." ? 1 : boxes.length + (chosen < 0 ? 0 : -1))) % boxes.length);
    else if (key === "s") form.querySelector('button[value="skip"]')?.click();
    else if (link) link.click();
    else return;
    event.preventDefault();
  });

  letters.checked = localStorage.getItem("label letters") !== "off";
  letters.addEventListener("change", () => localStorage.setItem("label letters", letters.checked ? "on" : "off"));
  addEventListener("resize", draw);
  readDraft();
  if (boxes.length) chosen = 0;
  render();
}
