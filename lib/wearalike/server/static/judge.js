// A key for each verdict; it clicks the button that the mouse would click.
const FIRST = ["alike", "goes_with"], SECOND = ["not_alike", "does_not_go"];
const THIRD = ["wrong_category"], FOURTH = ["unsure", "unsure_if_it_goes"];
const KEYS = {
  1: FIRST, ArrowLeft: FIRST,
  2: SECOND, ArrowRight: SECOND,
  3: THIRD, ArrowDown: THIRD,
  4: FOURTH, ArrowUp: FOURTH,
};
const form = document.querySelector("form.judging");
if (form) {
  let isSent = false; // a second key press must not judge twice
  form.addEventListener("submit", (event) => {
    if (isSent) event.preventDefault();
    isSent = true;
  });
  // A page restored by the back button may be sent again.
  addEventListener("pageshow", () => { isSent = false; });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target.matches("input, select, textarea")) return;
    if (event.key === "u" || event.key === "Backspace") {
      const back = document.querySelector("a.undo");
      if (back) { event.preventDefault(); back.click(); }
      return;
    }
    const verdicts = (KEYS[event.key] ?? []).map((verdict) => `button[value="${verdict}"]`);
    const button = verdicts.length ? form.querySelector(verdicts.join()) : null;
    if (button) { event.preventDefault(); button.click(); }
  });
}
