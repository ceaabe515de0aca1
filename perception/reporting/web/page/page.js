"use strict";
// Asks /api/state once a second while the page is seen, and shows what it says.

const KEEP_S = 600;
const STATES = { starting: "Starting", live: "Live", lost: "Camera lost", reconnecting: "Reconnecting" };
const $ = (id) => document.getElementById(id);
const known = { run: null, after: -1, log: -1, points: [], seconds: 300, misses: 0 };
let shownState = "", paused = matchMedia("(prefers-reduced-motion: reduce)").matches, timer = 0;

const ms = (value) => (value === null || value === undefined ? "–" : `${value.toFixed(1)} ms`);
const figure = (value, places = 1, unit = "") => (value === null || value === undefined ? "–" : `${value.toFixed(places)}${unit}`);
const put = (id, text) => { const node = $(id); if (node.textContent !== text) node.textContent = text; };

function span(seconds) {
  if (seconds < 90) return `${Math.max(Math.round(seconds), 0)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86400).toFixed(1)} days`;
}

const charts = [
  new Chart($("latency-chart"), $("latency-readout"), {
    series: [{ key: "max_ms", style: "top", area: true }, { key: "p50_ms", style: "p50" }],
    marks: "dropped", fromZero: true, unit: "ms", none: "No frame yet",
    say: (point) => (point ? `median ${ms(point.p50_ms)}, slowest ${ms(point.max_ms)}, ${point.dropped} dropped` : ""),
  }),
  new Chart($("fps-chart"), $("fps-readout"), {
    series: [{ key: "frames", style: "fps" }], fromZero: true, unit: "fps", none: "No frame yet",
    say: (point) => (point ? `${point.frames} fps` : ""),
  }),
  new Chart($("heat-chart"), $("heat-readout"), {
    series: [{ key: "temperature_c", style: "heat" }], fromZero: false, unit: "°C", none: "This board tells no temperature",
    say: (point) => (point ? `${figure(point.temperature_c, 0, " °C")}${point.power_w === null ? "" : `, ${point.power_w.toFixed(1)} W`}` : ""),
  }),
];

function rows(list, entries) {
  const text = JSON.stringify(entries);
  if (list.dataset.shown === text) return;
  list.dataset.shown = text;
  list.replaceChildren(...entries.map(([name, value]) => {
    const row = document.createElement("div"), term = document.createElement("dt"), said = document.createElement("dd");
    term.textContent = name;
    said.textContent = value;
    row.append(term, said);
    return row;
  }));
}

function showState(state, detail) {
  const words = STATES[state] ?? detail;
  $("pill").dataset.state = state === "reconnecting" ? "lost" : state;
  if (words !== shownState) put("pill-text", words);  // a change alone is told to a screen reader
  shownState = words;
  $("curtain").hidden = state === "live" && !$("picture").classList.contains("empty");
  put("curtain", state === "live" ? "Waiting for a picture" : detail);
}

function showSource(source) {
  if (!source) return showState("starting", "The pilot starts");
  put("label", source.label);
  const why = source.fault ? `: ${source.fault}` : "";
  const words = { starting: `Waiting for the camera${why}`, live: "", lost: `Camera lost ${span(source.for_s)} ago${why}` };
  showState(source.state, words[source.state] ?? `Camera lost ${span(source.for_s)} ago, reconnecting${why}`);
}

function showRecent(recent) {
  put("p50", figure(recent.p50_ms));
  put("p95", figure(recent.p95_ms));
  put("p99", figure(recent.p99_ms));
  put("max", figure(recent.max_ms));
  put("fps", figure(recent.fps));
  put("age", ms(recent.age_p95_ms));
  put("vehicles", recent.frames ? `${recent.vehicles} vehicles` : "–");
  put("hero-hint", recent.frames ? `median of ${recent.frames} frames, the last 10 s` : "no frame in the last 10 s");
  const names = ["pre", "infer", "post"];
  recent.stages_ms.forEach((value, place) => put(names[place], ms(value)));
  const parts = recent.stages_ms.map((value, place) => [names[place], value]).filter(([, value]) => value);
  const bar = $("stages");
  while (bar.children.length > parts.length) bar.lastChild.remove();
  while (bar.children.length < parts.length) bar.append(document.createElement("span"));
  parts.forEach(([name, value], place) => { bar.children[place].className = name; bar.children[place].style.flexGrow = value; });
  bar.setAttribute("aria-label", parts.map(([name, value]) => `${name} ${ms(value)}`).join(", ") || "No stage times");
  document.title = recent.p50_ms === null ? "Vehicle pilot" : `${recent.p50_ms.toFixed(1)} ms · Vehicle pilot`;
}

function showBackend(backend) {
  if (!backend) return;
  put("backend", `${backend.name} ${backend.precision}`);
  put("backend-input", `input ${backend.input}`);
  const text = backend.passed_over.join("\n");
  if ($("why").dataset.shown === text) return;
  $("why").dataset.shown = text;
  const intro = document.createElement("p"), list = document.createElement("ul");
  intro.className = "hint";
  intro.textContent = text ? "What stands before it was passed over:" : "The first choice.";
  list.append(...backend.passed_over.map((reason) => {
    const item = document.createElement("li");
    item.textContent = reason;
    return item;
  }));
  $("why").replaceChildren(intro, ...(text ? [list] : []));
}

function showBoard(board) {
  const share = (value) => `${Math.round(value * 100)} %`;
  const entries = !board ? [] : [
    ...Object.entries(board.temperatures_c).map(([zone, value]) => [`Temperature, ${zone}`, `${value.toFixed(0)} °C`]),
    ["Power", board.power_w === null ? null : `${board.power_w.toFixed(1)} W`],
    ["Power mode", board.power_mode],
    ["GPU load", board.gpu_load === null ? null : share(board.gpu_load)],
    ["CPU load", board.cpu_load === null ? null : share(board.cpu_load)],
    ["Memory free", board.memory_available_mib === null ? null : `${(board.memory_available_mib / 1024).toFixed(1)} of ${(board.memory_total_mib / 1024).toFixed(1)} GiB`],
    ["Slowed down by", board.throttling.join(", ") || null],
  ].filter(([, value]) => value !== null);
  $("no-board").hidden = entries.length > 0;
  rows($("board"), entries);
}

function showCounts({ source, totals }) {
  const seen = totals.frames + totals.dropped;
  put("dropped", seen ? `${totals.dropped} (${((100 * totals.dropped) / seen).toFixed(1)} %)` : "–");
  rows($("counts"), [
    ["State", source ? `${STATES[source.state].toLowerCase()} for ${span(source.for_s)}` : "starting"],
    ["Reconnected", source ? `${source.reconnects} times` : "–"],
    ["Frames", totals.frames.toLocaleString("en")],
    ["Dropped", totals.dropped.toLocaleString("en")],
    ...Object.entries(totals.vehicles).map(([name, count]) => [`Sightings, ${name}`, count.toLocaleString("en")]),
  ]);
}

function addHistory(history) {
  const keys = Object.keys(history);
  history.number.forEach((number, place) => {
    known.points.push(Object.fromEntries(keys.map((key) => [key, history[key][place]])));
    known.after = number;
  });
  known.points = known.points.slice(-KEEP_S);
  $("heat-card").hidden = !known.points.some((point) => point.temperature_c !== null);
  for (const chart of charts) chart.show(known.points, known.seconds);
}

function addLog(lines) {
  const box = $("log"), atEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
  for (const { number, at, level, text } of lines) {
    const item = document.createElement("li"), time = document.createElement("time");
    const kind = document.createElement("span"), said = document.createElement("span");
    item.dataset.level = level;
    time.dateTime = new Date(at * 1000).toISOString();
    time.textContent = new Date(at * 1000).toLocaleTimeString("en-GB");
    kind.className = "level";
    kind.textContent = level;
    said.className = "text";
    said.textContent = text;
    item.append(time, kind, said);
    $("lines").append(item);
    known.log = number;
  }
  while ($("lines").children.length > 200) $("lines").firstChild.remove();
  $("no-log").hidden = $("lines").children.length > 0;
  if (atEnd) box.scrollTop = box.scrollHeight;
}

function forget(run) {
  Object.assign(known, { run, after: -1, log: -1, points: [] });
  $("lines").replaceChildren();
}

async function ask() {
  const answer = await fetch(`/api/state?after=${known.after}&log=${known.log}`, { signal: AbortSignal.timeout(5000) });
  if (answer.status === 401) return location.replace("/sign-in");
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const state = await answer.json();
  if (known.run !== state.run) {
    const again = known.run !== null;
    forget(state.run);
    if (again) return ask();  // another run: its whole history
  }
  $("sign-out").hidden = !state.token;
  showSource(state.source);
  showRecent(state.recent);
  showBackend(state.backend);
  showBoard(state.board);
  showCounts(state);
  addHistory(state.history);
  addLog(state.log);
  return undefined;
}

async function turn() {
  clearTimeout(timer);
  if (document.hidden) return;
  try {
    await ask();
    if (known.misses) play();
    known.misses = 0;
  } catch {
    known.misses += 1;
    showState("gone", "The pilot does not answer");
  }
  timer = setTimeout(turn, Math.min(1000 * (1 + known.misses), 5000));
}

function play() {
  const image = $("picture");
  image.classList.add("empty");
  if (document.hidden) image.removeAttribute("src");
  else image.src = `${paused ? "/picture.jpg" : "/picture.mjpeg"}?${Date.now()}`;
  put("pause", paused ? "Play" : "Pause");
}

$("picture").addEventListener("load", () => { $("picture").classList.remove("empty"); });
$("picture").addEventListener("error", () => { $("picture").classList.add("empty"); setTimeout(play, 3000); });
$("pause").addEventListener("click", () => { paused = !paused; play(); });
document.addEventListener("visibilitychange", () => { play(); turn(); });
for (const choice of document.getElementsByName("range")) {
  choice.addEventListener("change", () => { known.seconds = +choice.value; addHistory({ number: [] }); });
}
play();
turn();
