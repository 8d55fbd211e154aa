"use strict";
// Headings become buttons that sort: first the largest number, then the smallest; names from A to Z, and numbers in
// them, as of classes, ranks and splits, from 0 upwards. What has no number comes last. Rows of one method, which share
// a body, stay together.
for (const table of document.querySelectorAll("table.sortable")) {
  const grouped = table.classList.contains("grouped");
  const units = () => [...(grouped ? table.tBodies : table.tBodies[0].rows)];
  const rowOf = (unit) => (grouped ? unit.rows[0] : unit);
  if (units().length < 2) continue;
  const headings = [...table.tHead.rows[0].cells];
  const numberOf = (unit, column) => parseFloat(rowOf(unit).cells[column].textContent.replaceAll(",", ""));
  const sort = (column) => {
    const heading = headings[column];
    const numeric = column > 0 && units().some((unit) => !Number.isNaN(numberOf(unit, column)));
    const before = heading.getAttribute("aria-sort");
    const down = before ? before === "ascending" : numeric;
    const compare = (a, b) => {
      if (!numeric) {
        const [x, y] = [a, b].map((unit) => rowOf(unit).cells[column].textContent);
        return x.localeCompare(y, undefined, { numeric: true }) * (down ? -1 : 1);
      }
      const [x, y] = [numberOf(a, column), numberOf(b, column)];
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
      return down ? y - x : x - y;
    };
    for (const each of headings) each.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const parent = grouped ? table : table.tBodies[0];
    parent.append(...units().sort(compare));
  };
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(column));
    heading.append(button);
  });
}

// What is folded is printed, too, also by browsers that do not know the style's ::details-content.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const each of opened) each.open = true;
});
addEventListener("afterprint", () => {
  for (const each of opened) each.open = false;
});
