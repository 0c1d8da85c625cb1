"use strict";
{
  // Tables: a click on a heading sorts by it, a second one turns the order round; missing values stay last.
  const compare = (left, right, numeric) =>
    numeric ? Number(left) - Number(right) : left.localeCompare(right, "en", { numeric: true });
  for (const table of document.querySelectorAll(".table table")) {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, place) => {
      heading.querySelector("button").addEventListener("click", () => {
        const descending = heading.getAttribute("aria-sort") === "ascending";
        headings.forEach((other) => other.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
        const numeric = heading.classList.contains("number");
        const key = (row) => row.cells[place].dataset.key;
        const rows = [...table.tBodies[0].rows].sort((a, b) => {
          if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === "");
          return (descending ? -1 : 1) * compare(key(a), key(b), numeric);
        });
        table.tBodies[0].append(...rows);
      });
    });
    const filter = table.parentElement.querySelector(".filter input");
    filter?.addEventListener("input", () => {
      const wanted = filter.value.trim().toLowerCase();
      for (const row of table.tBodies[0].rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    });
  }

  // Figures: drawn in the page's own colours, and again when the reader switches between light and dark or prints.
  // plotly's own button would upload the figure to a server.
  const config = { responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  // Panels side by side stand one above the other where there is no room.
  const NARROW = 640;
  const stack = (layout, entries) => {
    const axes = Object.keys(layout).filter((key) => /^xaxis\d*$/.test(key) && layout[key].domain);
    if (axes.length < 2) return {};
    const rows = new Set(axes.map((key) => layout[key.replace("x", "y")].domain[0])).size;
    const each = Math.max(layout.height / rows, 300), height = each * axes.length;
    const tops = axes.map((_, place) => 1 - place / axes.length);
    // A legend below the panels needs room for its lines, and follows the last panel's axis.
    const y = layout.legend?.y ?? 1, below = y < 0;
    const page = { height: height + (below ? 22 * entries : 0),
      legend: { ...layout.legend, y: (y * layout.height + (below ? 90 : 0)) / height } };
    axes.forEach((key, place) => {
      const other = key.replace("x", "y");
      page[key] = { ...layout[key], domain: [0, 1] };
      page[other] = { ...layout[other], domain: [tops[place] - (each - 90) / height, tops[place]], showticklabels: true,
        title: layout[other].title?.text ? layout[other].title : undefined };
    });
    let panel = 0;
    page.annotations = (layout.annotations ?? []).map((note) =>
      note.yref === "paper" && note.yanchor === "bottom" ? { ...note, x: 0.5, y: tops[panel++] } : note);
    return page;
  };
  const broken = (title) => title?.text && { ...title, text: title.text.replace(/(.{26,}?) /g, "$1<br>") };
  const draw = () => {
    const paper = document.documentElement.classList.contains("paper");
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    for (const source of document.querySelectorAll("script[data-plot]")) {
      const target = document.getElementById(source.dataset.plot);
      const { data, layout: given = {} } = JSON.parse(source.textContent);
      const narrow = !paper && target.parentElement.clientWidth < NARROW;
      const layout = narrow ? { ...given, ...stack(given, data.filter((each) => each.showlegend !== false && each.name).length) } : given;
      if (data.some((each) => each.type === "parcoords")) {
        target.style.minWidth = `${NARROW}px`;
        target.parentElement.classList.add("scrolls");
        target.parentElement.tabIndex = 0;
      }
      target.style.minHeight = `${layout.height}px`;
      const page = {
        uirevision: "kept", paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: !paper, width: paper ? NARROW : undefined,
        modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--link") },
        font: { ...layout.font, ...(narrow && { size: 11 }), color: colour("--ink"), family: getComputedStyle(document.body).fontFamily },
      };
      for (const axis of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key)).concat("xaxis", "yaxis")) {
        page[axis] = { gridcolor: colour("--grid"), linecolor: colour("--line"), zerolinecolor: colour("--line"),
          ...layout[axis], automargin: true };
        if (narrow && axis[0] === "x") page[axis].title = broken(page[axis].title);
      }
      for (const trace of data.filter((each) => each.type === "bar")) {
        for (const bars of [trace.error_x, trace.error_y]) if (bars) bars.color ??= colour("--ink");
      }
      target.querySelector("noscript")?.remove();
      Plotly.react(target, data, { ...layout, ...page }, { ...config, ...(narrow && { displayModeBar: false }) });
    }
  };
  if (document.querySelector("script[data-plot]")) {
    draw();
    for (const [event, paper] of [["beforeprint", true], ["afterprint", false]]) {
      addEventListener(event, () => { document.documentElement.classList.toggle("paper", paper); draw(); });
    }
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    matchMedia(`(max-width: ${NARROW}px)`).addEventListener("change", draw);
  }
}
