// Long texts, folded at as many lines as the style says, with a button that shows the rest; and boxes that scroll.

function foldLong(root) {
  const long = [...root.querySelectorAll(".fold")].filter((box) => box.scrollHeight > box.clientHeight + 2);
  for (const box of long) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "unfold-text";
    button.textContent = "Show all";
    button.ariaExpanded = "false";
    button.addEventListener("click", () => {
      const isOpen = box.classList.toggle("open");
      button.ariaExpanded = String(isOpen);
      button.textContent = isOpen ? "Show less" : "Show all";
    });
    box.classList.add("long");
    box.after(button);
  }
}

// A box takes the focus, so that keys scroll it, only while it is narrower than what is in it.
function watchScrolling() {
  const watcher = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (target.scrollWidth > target.clientWidth + 1) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }
  });
  for (const box of document.querySelectorAll(".scroll")) watcher.observe(box);
}
