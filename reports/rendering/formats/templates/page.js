"use strict";
// The table of examples: chosen, filtered, sorted and shown a page at a time. All text is set as text, never as markup.
(() => {
  const form = document.getElementById("examples-form");
  if (!form) return;
  const data = JSON.parse(document.getElementById("examples-data").textContent);
  const table = document.getElementById("examples");
  const count = document.getElementById("examples-count");
  const pages = document.getElementById("examples-pages");
  const ROWS_A_PAGE = 50;
  const state = { sort: "moved", descending: true, page: 0, rows: [] };

  const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 5 });
  const signed = new Intl.NumberFormat("en", { maximumSignificantDigits: 4, signDisplay: "exceptZero" });
  const shown = (format, value) => (value === null ? "\u2013" : format.format(value).replace("-", "\u2212"));

  // What is stored under a name, which may be any name.
  const own = (object, name) => (Object.hasOwn(object, name) ? object[name] : null);

  function fill(select, names) {
    const before = select.value;
    select.replaceChildren(...names.map(([value, text]) => new Option(text, value)));
    if (names.some(([value]) => value === before)) select.value = before;
  }

  function columns(metric) {
    const { prompts, texts, answers } = data.examples[metric.examples];
    const answered = Object.keys(answers).length ? [data.baseline, form.candidate.value] : [];
    return [
      { key: "id", name: "Example", kind: "id" },
      ...(prompts ? [{ key: "prompt", name: "Prompt", kind: "text" }] : []),
      ...Object.keys(texts).map((what) => ({ key: `text ${what}`, name: what, kind: "text" })),
      ...answered.map((subject) => ({ key: `answer ${subject}`, name: `Answer of ${subject}`, kind: "text" })),
      { key: "baseline", name: `Baseline (${metric.unit})`, kind: "number" },
      { key: "candidate", name: "Candidate", kind: "number" },
      { key: "difference", name: "Difference", kind: "number" },
    ];
  }

  // Every example of the chosen metric and candidate.
  function examples(metric, candidate) {
    const { ids, groups, prompts, texts, answers } = data.examples[metric.examples];
    const [theirs, ours] = [own(metric.values, data.baseline), own(metric.values, candidate)];
    const written = [
      ...Object.entries(texts).map(([what, column]) => [`text ${what}`, column]),
      ...[data.baseline, candidate].map((subject) => [`answer ${subject}`, own(answers, subject)]),
      ["prompt", prompts],
    ].filter(([, column]) => column);
    return ids.map((id, place) => {
      const baseline = theirs ? theirs[place] : metric.chance;
      const difference = baseline === null || ours[place] === null ? null : ours[place] - baseline;
      return {
        id,
        group: groups[place],
        baseline,
        candidate: ours[place],
        difference,
        moved: difference === null ? null : Math.abs(difference),
        ...Object.fromEntries(written.map(([key, column]) => [key, column[place]])),
      };
    });
  }

  function compared(one, other) {
    if (one === other) return 0;
    if (one === null || other === null) return one === null ? 1 : -1; // what is missing comes last
    const order = typeof one === "string" ? one.localeCompare(other) : one - other;
    return state.descending ? -order : order;
  }

  function select() {
    const metric = data.metrics[form.metric.value];
    const words = form.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = { higher: (d) => d > 0, lower: (d) => d < 0, equal: (d) => d === 0, all: () => true }[form.moved.value];
    const all = examples(metric, form.candidate.value);
    state.rows = all.filter((row) => {
      if (!wanted(row.difference)) return false;
      const text = Object.values(row).filter((value) => typeof value === "string").join("\n").toLowerCase();
      return words.every((word) => text.includes(word));
    });
    state.rows.sort((one, other) => compared(one[state.sort], other[state.sort]) || (one.id < other.id ? -1 : 1));
    const order = state.sort === "moved" ? ", those that moved most first" : "";
    count.textContent = `${state.rows.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} examples${order}`;
    show(metric);
  }

  function header(column) {
    const cell = document.createElement("th");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = column.name;
    button.addEventListener("click", () => {
      state.descending = state.sort === column.key ? !state.descending : column.kind === "number";
      state.sort = column.key;
      state.page = 0;
      select();
    });
    cell.className = column.kind;
    cell.scope = "col";
    if (state.sort === column.key) cell.ariaSort = state.descending ? "descending" : "ascending";
    cell.append(button);
    return cell;
  }

  function cell(row, column, metric) {
    const made = document.createElement("td");
    made.className = column.kind;
    made.dataset.name = column.name;
    if (column.kind === "number") {
      const isDifference = column.key === "difference";
      made.textContent = shown(isDifference ? signed : number, row[column.key]);
      if (isDifference && row.difference && metric.higher_is_better !== null) {
        made.classList.add(row.difference > 0 === metric.higher_is_better ? "better" : "worse");
      }
    } else {
      const text = document.createElement("div");
      text.textContent = row[column.key] ?? "";
      if (column.key === "id") text.title = `group ${row.group}`;
      made.append(text);
    }
    return made;
  }

  function show(metric) {
    const shownColumns = columns(metric);
    const first = state.page * ROWS_A_PAGE;
    const heads = document.createElement("tr");
    heads.append(...shownColumns.map(header));
    table.tHead.replaceChildren(heads);
    table.tBodies[0].replaceChildren(
      ...state.rows.slice(first, first + ROWS_A_PAGE).map((row) => {
        const line = document.createElement("tr");
        line.append(...shownColumns.map((column) => cell(row, column, metric)));
        return line;
      }),
    );
    const last = Math.max(0, Math.ceil(state.rows.length / ROWS_A_PAGE) - 1);
    const [previous, next] = pages.querySelectorAll("button");
    pages.hidden = last === 0;
    pages.querySelector("span").textContent = `Page ${state.page + 1} of ${last + 1}`;
    previous.disabled = state.page === 0;
    next.disabled = state.page === last;
  }

  function choose() {
    const { values } = data.metrics[form.metric.value];
    fill(form.candidate, data.candidates.filter((name) => Object.hasOwn(values, name)).map((name) => [name, name]));
    state.page = 0;
    select();
  }

  pages.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    state.page += Number(button.value);
    show(data.metrics[form.metric.value]);
    table.scrollIntoView({ block: "start" });
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", choose);
  fill(form.metric, data.metrics.map((metric, place) => [place, metric.label]));
  form.metric.value = data.first;
  choose();
})();
