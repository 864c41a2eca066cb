// The matrix of candidates: a click on a metric sorts by it, best first; the folded candidates come with a button.

function startMatrix() {
  const table = document.querySelector(".matrix");
  if (!table) return;
  const unfold = document.getElementById("unfold");
  const show = () => {
    table.classList.add("unfolded");
    unfold?.closest("p").remove();
  };
  unfold?.addEventListener("click", () => {
    show();
    table.querySelector(".rest tr th").tabIndex = -1;
    table.querySelector(".rest tr th").focus();
  });
  const heads = [...table.tHead.querySelectorAll("th[data-best]")];

  function sort(head) {
    const isBestFirst = head.dataset.order !== "best";
    const sign = (head.dataset.best === "lowest" ? 1 : -1) * (isBestFirst ? 1 : -1);
    const bodies = [...table.tBodies].filter((body) => body.classList.contains("rows"));
    const rows = bodies.flatMap((body) => [...body.rows]);
    const values = new Map(rows.map((row) => [row, row.cells[head.cellIndex].dataset.value]));
    rows.sort((one, other) => {
      const [a, b] = [values.get(one), values.get(other)];
      if (a === undefined || b === undefined) return Number(a === undefined) - Number(b === undefined);
      return sign * (Number(a) - Number(b));
    });
    bodies[0].append(...rows);
    show();
    for (const each of heads) {
      each.removeAttribute("aria-sort");
      delete each.dataset.order;
    }
    head.dataset.order = isBestFirst ? "best" : "worst";
    head.ariaSort = sign < 0 ? "descending" : "ascending";
  }

  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.dir = "auto";
    button.addEventListener("click", () => sort(head));
    button.append(...head.childNodes);
    head.prepend(button);
  }
}
