// The answers of the baseline and of one candidate side by side, with the words marked that differ.

const PROMPTS_A_PAGE = 5;

function startAnswers(data) {
  const form = document.getElementById("answers-form");
  if (!form) return;
  const list = document.getElementById("answers-list");
  const count = document.getElementById("answers-count");
  const pages = document.getElementById("answers-pages");
  const state = { page: 0, places: [] };
  const asked = () => data.answers[form.evaluation.value];
  const answer = (subject, place) => own(asked().subjects, subject)?.[place] ?? null;

  function select() {
    const { ids, kinds, left } = asked();
    const isWanted = {
      all: () => true,
      changed: (place) => ours(place)?.text !== theirs(place)?.text,
      refusal: (place) => Boolean(ours(place)?.refused) !== Boolean(theirs(place)?.refused),
    }[form.shown.value];
    const theirs = (place) => answer(data.baseline, place);
    const ours = (place) => answer(form.candidate.value, place);
    state.places = ids.flatMap((_, place) =>
      isWanted(place) && (!form.kind.value || kinds[place] === form.kind.value) ? [place] : [],
    );
    const more = left ? ` ${counted(left)} more prompts are in generations.jsonl.` : "";
    count.textContent = `${counted(state.places.length)} of ${counted(ids.length)} prompts.${more}`;
    show();
  }

  const who = (name, found) => `${name}${found?.refused ? " (refused)" : ""}${found ? "" : " (no answer)"}`;

  function article(place) {
    const { prompts, kinds } = asked();
    const subjects = [data.baseline, form.candidate.value];
    const found = subjects.map((subject) => answer(subject, place));
    const lines = alignedLines(...found.map((each) => each?.text ?? ""));
    const rest = found.flatMap((each, side) =>
      each?.left ? [`${subjects[side]}: \u2026 ${counted(each.left)} more characters, in generations.jsonl`] : [],
    );
    const sides = element(
      "div",
      { className: "sides" },
      ...subjects.map((name, side) =>
        element("div", { className: side ? "who candidate" : "who", dir: "auto", textContent: who(name, found[side]) }),
      ),
      element(
        "div",
        { className: "fold" },
        ...lines.flatMap((line) => line.map((pieces) => element("div", { dir: "auto" }, ...markedNodes(pieces)))),
      ),
      ...rest.map((text) => element("p", { className: "note rest-of", dir: "auto", textContent: text })),
    );
    const heading = `${place + 1}. ${kinds[place]}`.replace(/ $/, "");
    return element(
      "article",
      {},
      element("h3", { dir: "auto", textContent: heading }),
      element("div", { className: "prompt fold", dir: "auto", textContent: prompts[place] }),
      sides,
    );
  }

  function show() {
    const first = state.page * PROMPTS_A_PAGE;
    list.replaceChildren(...state.places.slice(first, first + PROMPTS_A_PAGE).map(article));
    turnPages(pages, state, Math.max(0, Math.ceil(state.places.length / PROMPTS_A_PAGE) - 1));
    foldLong(list);
  }

  function choose() {
    const { subjects, kinds } = asked();
    fill(form.candidate, data.candidates.filter((name) => Object.hasOwn(subjects, name)).map((name) => [name, name]));
    fill(form.kind, [["", "all"], ...[...new Set(kinds)].filter(Boolean).map((kind) => [kind, kind])]);
    state.page = 0;
    select();
  }

  onTurn(pages, list, (n) => {
    state.page += n;
    show();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", choose);
  fill(form.evaluation, data.answers.map((each, place) => [place, each.evaluation]));
  choose();
  form.candidate.value = own(asked().subjects, data.chosen) ? data.chosen : form.candidate.value;
  choose();
}
