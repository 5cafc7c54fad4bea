// A photo is searched as soon as it is chosen, dropped, pasted or taken; a wish searches it again.
const form = document.getElementById("ask");
if (form) {
  const busy = document.getElementById("busy");
  const drop = form.querySelector(".drop");
  const { photo, camera } = form.elements;
  const maxBytes = 1e6 * form.dataset.maxMb;
  let request;
  // What was asked about last: a file, or the name of a sample.
  let subject = null;

  const tell = (text) => {
    const result = document.getElementById("result");
    const notice = document.createElement("p");
    notice.className = "notice bad";
    notice.setAttribute("role", "alert");
    notice.textContent = text;
    result.replaceChildren(notice);
  };

  const search = async () => {
    if (!subject) return tell("No photo was sent. Please choose one.");
    if (subject.file?.size > maxBytes) {
      return tell(`This file is larger than ${form.dataset.maxMb} MB. Please send a smaller copy.`);
    }
    request?.abort();
    const mine = (request = new AbortController());
    const body = new FormData(form);
    for (const name of ["photo", "camera", "sample"]) body.delete(name);
    if (subject.file) body.set("photo", subject.file);
    else body.set("sample", subject.sample);
    busy.textContent = "Looking for the items in the photo …";
    document.getElementById("result").setAttribute("aria-busy", "true");
    try {
      const response = await fetch(form.action, { method: "POST", body, signal: mine.signal });
      // The server escapes this HTML as it does the page's.
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const result = page.getElementById("result");
      if (result) {
        if (location.hash) history.replaceState(null, "", location.pathname);
        document.getElementById("result").replaceWith(document.adoptNode(result));
      } else {
        tell(page.querySelector("main")?.innerText.trim() || "No answer. Please try again.");
      }
    } catch (error) {
      if (error.name === "AbortError") return;
      tell("No answer. Please try again.");
    }
    if (mine !== request) return;
    busy.textContent = "";
    document.getElementById("result").removeAttribute("aria-busy");
  };

  const take = (files) => {
    const file = [...files].find((one) => one.size || one.type);
    if (!file) return;
    subject = { file };
    search();
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const sample = event.submitter?.name === "sample" && event.submitter.value;
    if (sample) {
      photo.value = camera.value = "";
      subject = { sample };
    } else if (!subject) {
      // Chosen before this script ran, or put back by the browser.
      const file = photo.files[0] ?? camera.files[0];
      if (file) subject = { file };
    }
    search();
  });
  photo.addEventListener("change", () => take(photo.files));
  camera.addEventListener("change", () => take(camera.files));
  for (const select of form.querySelectorAll("select")) {
    select.addEventListener("change", () => subject && search());
  }
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => {
      if (![...event.dataTransfer.types].includes("Files")) return;
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  for (const name of ["dragleave", "drop"]) {
    document.addEventListener(name, () => drop.classList.remove("over"));
  }
  document.addEventListener("drop", (event) => {
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    photo.files = event.dataTransfer.files;
    take(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => take(event.clipboardData.files));
}
