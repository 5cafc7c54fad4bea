// Moving the slider re-ranks: it loads the list that the form would load, without leaving the page.
const form = document.querySelector("[data-similar]");
const list = document.getElementById("similar");
if (form && list) {
  const slider = form.elements.shape;
  const output = form.querySelector("output");
  let request;
  let timer;

  const show = async () => {
    request?.abort();
    request = new AbortController();
    const shape = Number(slider.value);
    list.setAttribute("aria-busy", "true");
    try {
      const response = await fetch(`${form.dataset.similar}?shape=${shape}`, { signal: request.signal });
      if (!response.ok) throw new Error(`status ${response.status}`);
      // The server escapes this HTML as it does the page's.
      list.innerHTML = await response.text();
      history.replaceState(null, "", `?shape=${shape}`);
      list.removeAttribute("aria-busy");
    } catch (error) {
      if (error.name === "AbortError") return;
      list.removeAttribute("aria-busy");
      output.textContent = "no answer, please try again";
    }
  };

  slider.addEventListener("input", () => {
    const shape = Number(slider.value);
    output.textContent = `shape ${shape} : colour ${10 - shape}`;
    slider.setAttribute("aria-valuetext", output.textContent);
    clearTimeout(timer);
    timer = setTimeout(show, 80);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    show();
  });
  form.querySelector("button").hidden = true;
}
