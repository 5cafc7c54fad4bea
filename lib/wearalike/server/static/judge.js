// A key for each verdict; what is pressed is the button that stands there for the mouse.
const KEYS = {
  1: "alike", ArrowLeft: "alike",
  2: "not_alike", ArrowRight: "not_alike",
  3: "wrong_category", ArrowDown: "wrong_category",
  4: "unsure", ArrowUp: "unsure",
};
const form = document.querySelector("form.judging");
if (form) {
  let isSent = false;
  form.addEventListener("submit", (event) => {
    if (isSent) event.preventDefault();
    isSent = true;
  });
  // A page that comes back from the browser's memory may be sent again.
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
