// Moving a slider re-ranks: it loads the list that the form would load, without leaving the page.
const form = document.querySelector("[data-similar]");
const list = document.getElementById("similar");
if (form && list) {
  const { shape, kind } = form.elements;
  const output = form.querySelector("output");
  let request;
  let timer;

  const show = async () => {
    request?.abort();
    request = new AbortController();
    const query = `?shape=${shape.value}&kind=${kind.value}`;
    list.setAttribute("aria-busy", "true");
    try {
      const response = await fetch(`${form.dataset.similar}${query}`, { signal: request.signal });
      if (!response.ok) throw new Error(`status ${response.status}`);
      // The server escapes this HTML as it does the page's.
      list.innerHTML = await response.text();
      history.replaceState(null, "", query);
      list.removeAttribute("aria-busy");
    } catch (error) {
      if (error.name === "AbortError") return;
      list.removeAttribute("aria-busy");
      output.textContent = "no answer, please try again";
    }
  };

  for (const slider of [shape, kind]) {
    slider.addEventListener("input", () => {
      const codes = `shape ${shape.value} : colour ${10 - shape.value}`;
      output.textContent = `${codes} : kind ${kind.value}`;
      shape.setAttribute("aria-valuetext", codes);
      kind.setAttribute("aria-valuetext", `kind ${kind.value}`);
      clearTimeout(timer);
      timer = setTimeout(show, 80);
    });
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    show();
  });
  form.querySelector("button").hidden = true;
}
