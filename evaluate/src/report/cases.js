for (const table of document.querySelectorAll("table.sort")) {
  const body = table.tBodies[0];
  const value = (row, column) => {
    const cell = row.cells[column];
    if (column === 0) return cell.textContent;
    return cell.dataset.by === undefined ? NaN : Number(cell.dataset.by.replace("inf", "Infinity"));
  };
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b);
  table.tHead.querySelectorAll("button").forEach((button, column) => {
    let sign = -1;
    button.onclick = () => {
      sign = -sign;
      const rows = [...body.rows].sort((one, other) => {
        const [a, b] = [value(one, column), value(other, column)];
        if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
        return sign * compare(a, b);
      });
      body.append(...rows);
    };
  });
}
document.querySelector("input[type=search]").oninput = (event) => {
  const part = event.target.value.toLowerCase();
  for (const row of document.querySelector("table.sort").tBodies[0].rows) {
    row.hidden = !row.cells[0].textContent.toLowerCase().includes(part);
  }
};
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((fold) => (fold.open = true)));
