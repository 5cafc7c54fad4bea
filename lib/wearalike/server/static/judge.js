// A key for each verdict; it clicks the button that the mouse would click.
const KEYS = {
  1: "alike", ArrowLeft: "alike",
  2: "not_alike", ArrowRight: "not_alike",
  3: "wrong_category", ArrowDown: "wrong_category",
  4: "unsure", ArrowUp: "unsure",
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
    const button = KEYS[event.key] && form.querySelector(`button[value="${KEYS[event.key]}"]`);
    if (button) { event.preventDefault(); button.click(); }
  });
}
