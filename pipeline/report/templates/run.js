"use strict";
// Plotly is in the page, gzipped and in base64: unpack it, then draw what the page holds as JSON.

const bytes = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
const content = (name) => JSON.parse(document.getElementById(`${name}-data`).textContent);
const themes = matchMedia("(prefers-color-scheme: dark)");

async function unpackPlotly() {
  const packed = new Blob([bytes(document.getElementById("plotly").textContent)]);
  const source = await new Response(packed.stream().pipeThrough(new DecompressionStream("gzip"))).text();
  const script = document.createElement("script");
  script.textContent = source;
  document.head.append(script);
}

function themed(layout) {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const axis = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--line") };
  const clear = "rgba(0,0,0,0)";
  const axes = (of, names) => Object.fromEntries(names.map((name) => [name, { ...axis, ...of[name] }]));
  const scene = layout.scene && { ...layout.scene, ...axes(layout.scene, ["xaxis", "yaxis", "zaxis"]) };
  return {
    ...layout, ...(scene ? { scene } : axes(layout, ["xaxis", "yaxis"])),
    font: { color: colour("--ink"), family: "system-ui, sans-serif", size: 12.5 },
    paper_bgcolor: clear, plot_bgcolor: clear, autosize: true,
  };
}

const CONFIG = { responsive: true, displayModeBar: false };

function drawChart(div) {
  const { data, layout, choices } = content(div.id);
  const select = document.querySelector(`select[data-chart="${div.id}"]`);
  const draw = () => {
    const chosen = select && choices[select.value];
    const traces = chosen ? data.map((trace, place) => ({ ...trace, y: chosen.y[place] || [] })) : data;
    const yaxis = chosen ? { ...layout.yaxis, title: { text: chosen.title } } : layout.yaxis;
    return Plotly.react(div, traces, themed({ ...layout, yaxis }), CONFIG);
  };
  if (select) select.addEventListener("change", draw);
  themes.addEventListener("change", draw);
  return draw();
}

// The point cloud: which points, in which colours, seen from where.

const START = { azimuth: 200, elevation: 35, distance: 1 };

function eyeOf({ azimuth, elevation, distance }) {
  const [a, e] = [azimuth, elevation].map((degrees) => (degrees * Math.PI) / 180);
  const flat = distance * Math.cos(e);
  return { x: flat * Math.cos(a), y: flat * Math.sin(a), z: distance * Math.sin(e) };
}

function placeOf({ x, y, z }) {
  const distance = Math.hypot(x, y, z);
  const degrees = 180 / Math.PI;
  return { azimuth: Math.atan2(y, x) * degrees, elevation: Math.asin(z / distance) * degrees, distance };
}

const TURNS = {
  left: (p) => ({ ...p, azimuth: p.azimuth - 15 }),
  right: (p) => ({ ...p, azimuth: p.azimuth + 15 }),
  up: (p) => ({ ...p, elevation: Math.min(p.elevation + 10, 89) }),
  down: (p) => ({ ...p, elevation: Math.max(p.elevation - 10, -30) }),
  nearer: (p) => ({ ...p, distance: Math.max(p.distance / 1.25, 0.05) }),
  farther: (p) => ({ ...p, distance: Math.min(p.distance * 1.25, 4) }),
  above: () => ({ azimuth: 180, elevation: 89, distance: 1.2 }),
};
const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down", "+": "nearer", "-": "farther" };

function drawCloud(div) {
  const { clouds, around, height, heights } = content("cloud");
  const [subject, colour] = ["subject", "colour"].map((name) => document.getElementById(`cloud-${name}`));
  let place = START;
  const draw = () => {
    const { xyz, rgb } = clouds[subject.value];
    const [at, paint] = [new Int16Array(bytes(xyz).buffer), bytes(rgb)];
    const count = at.length / 3;
    const along = (axis) => Float32Array.from({ length: count }, (_, point) => at[3 * point + axis] / 100);
    const painted = () => Array.from({ length: count }, (_, point) => `rgb(${paint.subarray(3 * point, 3 * point + 3)})`);
    const [x, y, z] = [0, 1, 2].map(along);
    const byHeight = { color: z, colorscale: "Viridis", cmin: heights[0], cmax: heights[1] };
    const marker = { size: 1.8, ...(colour.value === "image" ? { color: painted() } : byHeight) };
    const axis = (name, range) => ({ title: { text: `${name} (m)` }, range, showbackground: false });
    const scene = {
      xaxis: axis("x", [-around, around]), yaxis: axis("y", [-around, around]), zaxis: axis("z", height),
      aspectmode: "data", camera: { eye: eyeOf(place) }, dragmode: "turntable",
    };
    const trace = { type: "scatter3d", mode: "markers", x, y, z, marker, hoverinfo: "x+y+z" };
    const layout = { scene, margin: { l: 0, r: 0, t: 0, b: 0 }, showlegend: false };
    return Plotly.react(div, [trace], themed(layout), CONFIG);
  };
  const turn = (how) => {
    place = TURNS[how](place);
    Plotly.relayout(div, { "scene.camera.eye": eyeOf(place), "scene.camera.center": { x: 0, y: 0, z: 0 } });
  };
  for (const select of [subject, colour]) select.addEventListener("change", draw);
  themes.addEventListener("change", draw);
  for (const button of document.querySelectorAll("[data-turn]")) {
    button.addEventListener("click", () => turn(button.dataset.turn));
  }
  div.addEventListener("keydown", (event) => {
    const how = KEYS[event.key];
    if (!how) return;
    event.preventDefault();
    turn(how);
  });
  return draw().then(() => div.on("plotly_relayout", (change) => {
    const camera = change["scene.camera"];
    if (camera) place = placeOf(camera.eye);
  }));
}

// Tables are sorted by a press on a heading: as they came, least first, greatest first.

function makeSortable(table) {
  const rows = [...table.tBodies[0].rows];
  const headings = [...table.tHead.rows[0].cells];
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  };
  const NEXT = { none: "ascending", ascending: "descending", descending: "none" };
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    if (!button.textContent.trim()) button.setAttribute("aria-label", "name");
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const order = NEXT[heading.getAttribute("aria-sort")];
      headings.forEach((other) => other.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", order);
      const sign = order === "descending" ? -1 : 1;
      const compared = (a, b) => {
        const [one, other] = [value(a, column), value(b, column)];
        if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1; // what is not known comes last
        return sign * (typeof one === "number" ? one - other : one.localeCompare(other, undefined, { numeric: true }));
      };
      table.tBodies[0].append(...(order === "none" ? rows : [...rows].sort(compared)));
    });
  });
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
unpackPlotly().then(async () => {
  await Promise.all([...document.querySelectorAll(".plot:not(.cloud)")].map(drawChart));
  const cloud = document.getElementById("cloud");
  new IntersectionObserver((seen, observer) => {
    if (!seen.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    drawCloud(cloud).then(() => { cloud.dataset.drawn = "yes"; });
  }, { rootMargin: "300px" }).observe(cloud);
  document.documentElement.dataset.drawn = "yes";
});
