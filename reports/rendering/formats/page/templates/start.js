// What is seen first is painted before anything else is done.

function openTarget() {
  const target = location.hash.length > 1 ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
  if (target instanceof HTMLDetailsElement) target.open = true;
  target?.closest("details")?.setAttribute("open", "");
}

function start() {
  const data = JSON.parse(document.getElementById("data").textContent);
  startMatrix();
  startPictures(data.pictures, data.run);
  startExamples(data);
  startAnswers(data);
  watchScrolling();
  openTarget();
  addEventListener("hashchange", openTarget);
  document.documentElement.dataset.ready = "yes";
}

requestAnimationFrame(() => setTimeout(start));
