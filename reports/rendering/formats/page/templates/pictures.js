// The buttons that save a picture, or its data, from what the page already holds.

function startPictures(csv, run) {
  const TYPES = { svg: "image/svg+xml", csv: "text/csv" };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-save]");
    if (!button) return;
    const { save, picture } = button.dataset;
    const drawn = button.closest("figure").querySelector("svg");
    const content = save === "svg" ? new XMLSerializer().serializeToString(drawn) : csv[picture];
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type: TYPES[save] }));
    link.download = `${run}-${picture}.${save}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  });
}
