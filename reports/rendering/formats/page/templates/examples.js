// The browser of examples: chosen, filtered, sorted and shown a page at a time. All text is set as text, never as markup.

const ROWS_A_PAGE = 25;
const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 5 });
const signed = new Intl.NumberFormat("en", { maximumSignificantDigits: 4, signDisplay: "exceptZero" });
const shown = (format, value) => (value === null ? "\u2013" : format.format(value).replace("-", "\u2212"));
const counted = (amount) => amount.toLocaleString("en");

// What is stored under a name, which may be any name.
const own = (object, name) => (Object.hasOwn(object, name) ? object[name] : null);

// Calls `turn` with how many pages a button goes on or back, and shows the top of what it turned.
function onTurn(buttons, top, turn) {
  buttons.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    turn(Number(button.value));
    top.scrollIntoView({ block: "start" });
  });
}

function fill(select, names) {
  const before = select.value;
  select.replaceChildren(...names.map(([value, text]) => new Option(text, value)));
  if (names.some(([value]) => String(value) === before)) select.value = before;
  select.closest("label").hidden = names.length < 2;
}

function turnPages(pages, state, last) {
  const [previous, next] = pages.querySelectorAll("button");
  pages.hidden = last === 0;
  pages.querySelector("span").textContent = `Page ${state.page + 1} of ${last + 1}`;
  previous.disabled = state.page === 0;
  next.disabled = state.page === last;
}

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function startExamples(data) {
  const form = document.getElementById("examples-form");
  if (!form) return;
  const table = document.getElementById("examples");
  const count = document.getElementById("examples-count");
  const pages = document.getElementById("examples-pages");
  const state = { sort: "moved", descending: true, page: 0, rows: [], all: [], key: null };
  const metric = () => data.metrics[form.metric.value];

  function columns() {
    const { prompts, texts, answers } = data.examples[metric().examples];
    const answered = answers === null ? [] : [data.baseline, form.candidate.value];
    return [
      { key: "id", name: "Example", kind: "id" },
      ...(prompts ? [{ key: "prompt", name: "Prompt", kind: "text" }] : []),
      ...Object.keys(texts).map((what) => ({ key: `text ${what}`, name: what, kind: "text" })),
      ...answered.map((subject, side) => ({ key: `answer ${side}`, name: `Answer of ${subject}`, kind: "text" })),
      { key: "baseline", name: `Baseline (${metric().unit})`, kind: "number" },
      { key: "candidate", name: "Candidate", kind: "number" },
      { key: "difference", name: "Difference", kind: "number" },
    ];
  }

  // Every example of the chosen metric and candidate, kept until another one is chosen.
  function examples() {
    const key = `${form.metric.value} ${form.candidate.value}`;
    if (state.key === key) return state.all;
    const { values, chance, higher_is_better: isBetter, examples: place } = metric();
    const { ids, groups, prompts, texts, answers } = data.examples[place];
    const [theirs, ours] = [own(values, data.baseline), own(values, form.candidate.value)];
    const asked = answers === null ? null : data.answers[answers];
    const places = asked ? new Map(asked.ids.map((id, nth) => [id, nth])) : null;
    const written = Object.entries(texts);
    state.key = key;
    state.all = ids.map((id, nth) => {
      const baseline = theirs ? theirs[nth] : chance;
      const difference = baseline === null || ours[nth] === null ? null : ours[nth] - baseline;
      const row = { id, group: groups[nth], baseline, candidate: ours[nth], difference };
      row.moved = difference === null ? null : Math.abs(difference);
      row.outcome = difference === null ? "" : Math.sign(difference) * (isBetter === false ? -1 : 1);
      if (prompts) row.prompt = prompts[nth];
      for (const [what, column] of written) row[`text ${what}`] = column[nth];
      if (asked) {
        const at = places.get(id);
        row.kind = asked.kinds[at] ?? "";
        [data.baseline, form.candidate.value].forEach((subject, side) => {
          row[`answer ${side}`] = own(asked.subjects, subject)?.[at]?.text ?? "";
        });
      }
      return row;
    });
    return state.all;
  }

  const textOf = (row) =>
    (row.words ??= Object.values(row).filter((value) => typeof value === "string").join("\n").toLowerCase());

  function select() {
    const words = form.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = { won: 1, lost: -1, tied: 0 }[form.outcome.value];
    const all = examples();
    state.rows = all.filter(
      (row) =>
        (wanted === undefined || row.outcome === wanted) &&
        (!form.kind.value || row.kind === form.kind.value) &&
        words.every((word) => textOf(row).includes(word)),
    );
    sort();
    const order = state.sort === "moved" ? ", those that moved most first" : "";
    const { left } = data.examples[metric().examples];
    const cut = left ? ` \u00b7 of ${counted(all.length + left)} those that moved most are here, and counted` : "";
    count.textContent = `${counted(state.rows.length)} of ${counted(all.length)} examples${order} \u00b7 ${tally(all)}${cut}`;
    show();
  }

  function tally(all) {
    const words = outcomeWords();
    const times = { won: 0, lost: 0, tied: 0 };
    for (const { outcome } of all) {
      if (outcome !== "") times[outcome > 0 ? "won" : outcome < 0 ? "lost" : "tied"]++;
    }
    return Object.entries(words).map(([way, text]) => `${text} ${counted(times[way])}`).join(" \u00b7 ");
  }

  function outcomeWords() {
    if (metric().higher_is_better === null) return { won: "higher", lost: "lower", tied: "the same" };
    return { won: "won", lost: "lost", tied: "tied" };
  }

  function sort() {
    const { sort: key, descending } = state;
    const sign = descending ? -1 : 1;
    state.rows.sort((one, other) => {
      const [a, b] = [one[key], other[key]];
      if (a === b) return one.id < other.id ? -1 : 1;
      if (a === null || b === null) return a === null ? 1 : -1; // what is missing comes last
      return sign * (typeof a === "string" ? a.localeCompare(b) : a - b);
    });
  }

  function header(column) {
    const button = element("button", { type: "button", textContent: column.name });
    button.dir = "auto";
    button.addEventListener("click", () => {
      state.descending = state.sort === column.key ? !state.descending : column.kind === "number";
      state.sort = column.key;
      state.page = 0;
      select();
      table.tHead.querySelector("[aria-sort] button").focus();
    });
    const cell = element("th", { className: column.kind, scope: "col" }, button);
    if (state.sort === column.key) cell.ariaSort = state.descending ? "descending" : "ascending";
    return cell;
  }

  function cells(row, all) {
    const marked = new Map();
    if ("answer 0" in row) {
      const lines = alignedLines(row["answer 0"], row["answer 1"]);
      for (const side of [0, 1]) {
        marked.set(`answer ${side}`, lines.flatMap((line, nth) => [...(nth ? ["\n"] : []), ...markedNodes(line[side])]));
      }
    }
    return all.map((column) => {
      const made = element("td", { className: column.kind });
      made.dataset.name = column.name;
      if (column.kind === "number") {
        made.textContent = shown(column.key === "difference" ? signed : number, row[column.key]);
      } else {
        const text = element("div", { dir: "auto", className: column.kind === "text" ? "fold" : "" });
        text.append(...(marked.get(column.key) ?? [row[column.key] ?? ""]));
        if (column.key === "id") text.title = `group ${row.group}`;
        made.append(text);
      }
      return made;
    });
  }

  function show() {
    const all = columns();
    const first = state.page * ROWS_A_PAGE;
    table.tHead.replaceChildren(element("tr", {}, ...all.map(header)));
    table.tBodies[0].replaceChildren(
      ...state.rows.slice(first, first + ROWS_A_PAGE).map((row) => element("tr", {}, ...cells(row, all))),
    );
    turnPages(pages, state, Math.max(0, Math.ceil(state.rows.length / ROWS_A_PAGE) - 1));
    foldLong(table);
  }

  function choose() {
    const ofSource = data.metrics.flatMap((each, nth) => (each.evaluation === form.source.value ? [[nth, each.name]] : []));
    fill(form.metric, ofSource);
    const { values, examples: place } = metric();
    fill(form.candidate, data.candidates.filter((name) => Object.hasOwn(values, name)).map((name) => [name, name]));
    const { answers } = data.examples[place];
    const kinds = answers === null ? [] : [...new Set(data.answers[answers].kinds)].filter(Boolean);
    fill(form.kind, [["", "all"], ...kinds.map((kind) => [kind, kind])]);
    const words = Object.entries(outcomeWords());
    fill(form.outcome, [["", "all"], ...words]);
    state.page = 0;
    select();
  }

  onTurn(pages, table, (n) => {
    state.page += n;
    show();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", choose);
  fill(form.source, Object.entries(data.sources));
  form.source.value = data.metrics[data.first].evaluation;
  choose();
  form.metric.value = data.first;
  choose();
}
