// Differing words of two texts, aligned: the words are found by their spaces, and by the browser's dictionary in
// scripts that have none (Intl.Segmenter); what differs is found by jsdiff.

const MOST_EDITS = 3_000; // texts that differ in more words than that have next to nothing in common
const WORD = /\n|[\p{L}\p{M}\p{N}'\u2019_-]+[^\S\n]*|[^\S\n]+|[^\p{L}\p{M}\p{N}\s'\u2019_-]+[^\S\n]*/gu;
const UNSPACED =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;
const segmenter = "Segmenter" in Intl ? new Intl.Segmenter(undefined, { granularity: "word" }) : null;

function wordsOf(text) {
  const found = text.match(WORD) ?? [];
  return found.flatMap((word) =>
    segmenter && UNSPACED.test(word) ? Array.from(segmenter.segment(word), (each) => each.segment) : [word],
  );
}

// Pairs of lines, which begin together wherever both texts break a line: [pieces of one, pieces of the other], a piece
// being { text, differs }.
function alignedLines(one, other) {
  const words = [wordsOf(one), wordsOf(other)];
  const [ours, theirs] = words.map((side) => side.map((word) => word.trim() || word));
  const changes = Diff.diffArrays(ours, theirs, { maxEditLength: MOST_EDITS });
  if (!changes) return [[[{ text: one, differs: false }], [{ text: other, differs: false }]]];
  const lines = [[[], []]];
  const places = [0, 0];
  const take = (side, differs) => {
    const text = words[side][places[side]++];
    const pieces = lines.at(-1)[side];
    if (pieces.at(-1)?.differs === differs) pieces.at(-1).text += text;
    else pieces.push({ text, differs });
  };
  for (const { count, added, removed } of changes) {
    for (let n = 0; n < count; n++) {
      if (removed) take(0, true);
      else if (added) take(1, true);
      else if (words[0][places[0]] === "\n") {
        places[0]++;
        places[1]++;
        lines.push([[], []]);
      } else {
        take(0, false);
        take(1, false);
      }
    }
  }
  return lines;
}

// Nodes of pieces, with marks around words that differ; the spaces behind them stay out.
function markedNodes(pieces) {
  return pieces.flatMap(({ text, differs }) => {
    const bare = text.trimEnd();
    if (!differs || !bare) return [document.createTextNode(text)];
    const mark = document.createElement("mark");
    mark.textContent = bare;
    return [mark, document.createTextNode(text.slice(bare.length))];
  });
}
