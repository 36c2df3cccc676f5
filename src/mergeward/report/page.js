"use strict";

// Sorts tables, and filters the first of a page that has filters. The address keeps what was done to that one
// (#sort=asr&order=descending&attack=badnets), so that a view can be linked. Without this script the page shows
// everything in its first order.
function sortable(table, filters, status) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  const firstOrder = [...body.rows];
  const orders = ["ascending", "descending"];
  const state = { sort: "", order: "" };

  const isNumeric = (heading) => heading.classList.contains("number");

  function valueOf(row, column) {
    const text = row.cells[column].dataset.value;
    if (text === "") return null;
    return isNumeric(headings[column]) ? Number(text) : text;
  }

  function compare(a, b) {
    if (typeof a === "number") return a - b;
    return a.localeCompare(b);
  }

  function inOrder() {
    const column = headings.findIndex((heading) => heading.dataset.key === state.sort);
    if (column < 0) return firstOrder;
    const sign = state.order === "descending" ? -1 : 1;
    return [...firstOrder].sort((left, right) => {
      const a = valueOf(left, column);
      const b = valueOf(right, column);
      // Rows without a value come last either way.
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * compare(a, b);
    });
  }

  function passes(row, filter) {
    if (!filter.value) return true;
    if (filter.dataset.of) return row.dataset[filter.dataset.of] === filter.value;
    return row.textContent.toLowerCase().includes(filter.value.toLowerCase());
  }

  function render() {
    body.append(...inOrder());
    const isFiltered = filters.some((filter) => filter.value);
    table.classList.toggle("sorted", Boolean(state.sort) || isFiltered);
    for (const heading of headings) {
      if (heading.dataset.key === state.sort) heading.setAttribute("aria-sort", state.order);
      else heading.removeAttribute("aria-sort");
    }
    for (const row of firstOrder) row.hidden = !filters.every((filter) => passes(row, filter));
    const shown = firstOrder.filter((row) => !row.hidden).length;
    const heading = headings.find((candidate) => candidate.dataset.key === state.sort);
    const order = heading ? `, sorted by ${heading.textContent}, ${state.order}` : "";
    if (status) status.textContent = `${shown} of ${firstOrder.length} rows${order}`;
  }

  function remember() {
    const parameters = new URLSearchParams();
    if (state.sort) {
      parameters.set("sort", state.sort);
      parameters.set("order", state.order);
    }
    for (const filter of filters) if (filter.value) parameters.set(filter.dataset.filter, filter.value);
    history.replaceState(null, "", `#${parameters.toString() || "results"}`);
  }

  // Returns whether the address holds a view; that of a section (#controls) holds none and changes nothing.
  function recall() {
    const parameters = new URLSearchParams(location.hash.slice(1));
    const names = ["sort", ...filters.map((filter) => filter.dataset.filter)];
    if (!names.some((name) => parameters.has(name))) return false;
    const known = headings.some((heading) => heading.dataset.key === parameters.get("sort"));
    state.sort = known ? parameters.get("sort") : "";
    state.order = orders.includes(parameters.get("order")) ? parameters.get("order") : orders[0];
    for (const filter of filters) {
      filter.value = parameters.get(filter.dataset.filter) ?? "";
      if (filter.selectedIndex < 0) filter.value = "";
    }
    return true;
  }

  // Large numbers and early letters first, then the reverse, then the first order.
  function advance(heading) {
    const [first, second] = isNumeric(heading) ? [...orders].reverse() : orders;
    const { key } = heading.dataset;
    if (state.sort !== key) Object.assign(state, { sort: key, order: first });
    else if (state.order === first) state.order = second;
    else Object.assign(state, { sort: "", order: "" });
  }

  function update() {
    render();
    if (status) remember();
  }

  for (const heading of headings) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    button.addEventListener("click", () => {
      advance(heading);
      update();
    });
    heading.replaceChildren(button);
  }
  for (const filter of filters) filter.addEventListener("input", update);

  function show() {
    const holdsView = recall();
    render();
    if (holdsView) document.getElementById("results").scrollIntoView();
  }
  if (!status) return;
  window.addEventListener("hashchange", show);
  show();
}

(() => {
  const [first, ...others] = document.querySelectorAll("table[data-sortable]");
  const filters = [...document.querySelectorAll("[data-filter]")];
  sortable(first, filters, document.querySelector(".filters output"));
  for (const table of others) sortable(table, [], null);
  for (const element of document.querySelectorAll(".filters, .script-note")) element.hidden = false;
})();
