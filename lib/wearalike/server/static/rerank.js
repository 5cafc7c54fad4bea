// The slider re-ranks as it is moved: the same list that the form would load, without leaving the page.
const form = document.querySelector("[data-similar]");
const list = document.getElementById("similar");
if (form && list) {
  const slider = form.elements.shape;
  const said = form.querySelector("output");
  let asked;
  let timer;

  const show = async () => {
    asked?.abort();
    asked = new AbortController();
    const shape = Number(slider.value);
    list.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(`${form.dataset.similar}?shape=${shape}`, { signal: asked.signal });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      // The server has escaped it, as it has the page.
      list.innerHTML = await answer.text();
      history.replaceState(null, "", `?shape=${shape}`);
      list.removeAttribute("aria-busy");
    } catch (error) {
      if (error.name === "AbortError") return;
      list.removeAttribute("aria-busy");
      said.textContent = "no answer, try again";
    }
  };

  slider.addEventListener("input", () => {
    const shape = Number(slider.value);
    said.textContent = `shape ${shape} : colour ${10 - shape}`;
    slider.setAttribute("aria-valuetext", said.textContent);
    clearTimeout(timer);
    timer = setTimeout(show, 80);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    show();
  });
  form.querySelector("button").hidden = true;
}
