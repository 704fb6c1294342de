// The viewer of a report: zoom, pan, outlines as switches, a cell's measurements under the pointer.
// It reads what packing.py wrote. Without it the page still shows the image with its outlines.
(() => {
  "use strict";
  const source = document.getElementById("viewer-data");
  if (!source) return;
  const page = JSON.parse(source.textContent);
  const element = (id) => document.getElementById(id);
  const frame = element("frame");
  const baseCanvas = element("base-canvas");
  const lineCanvas = element("line-canvas");
  const base = baseCanvas.getContext("2d");
  const lines = lineCanvas.getContext("2d");
  const image = element("base-image");
  const tip = element("tip");
  const panel = element("cell");
  const { width, height, factor } = page;
  const layers = page.layers.map((layer) => ({
    ...layer,
    toggle: element(`show-${layer.key}`),
    picture: element(`lines-${layer.key}`),
    labels: null,
    columns: null,
    rowOf: null,
  }));

  const more = page.more.map((channel) => ({
    ...channel,
    toggle: element(channel.key),
    picture: element(`picture-${channel.key}`),
  }));

  let deviceRatio = 1;
  let view = { scale: 1, left: 0, top: 0 }; // device px: left, top of the image; scale per shown px
  let fitted = true;
  let hovered = []; // [{layer, label}]
  let pinned = [];
  let pending = false;
  let buffer = null;

  // ---- unpacking -------------------------------------------------------------------------------

  async function inflate(id) {
    const text = atob(element(id).textContent.trim());
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  function joinPlanes(bytes, offset, count, planes) {
    const out = new Uint32Array(count);
    for (let plane = 0; plane < Math.min(planes, 4); plane += 1) {
      const start = offset + plane * count;
      for (let i = 0; i < count; i += 1) out[i] += bytes[start + i] * 256 ** plane;
    }
    return out;
  }

  async function unpack(layer) {
    const bytes = await inflate(`labels-${layer.key}`);
    const values = joinPlanes(bytes, 0, layer.runs, layer.labelBytes);
    const lengths = joinPlanes(bytes, layer.runs * layer.labelBytes, layer.runs, layer.lengthBytes);
    const labels = new (layer.labelBytes > 2 ? Int32Array : Uint16Array)(width * height);
    let at = 0;
    for (let run = 0; run < layer.runs; run += 1) {
      labels.fill(values[run], at, at + lengths[run]);
      at += lengths[run];
    }
    if (layer.fields.length) {
      const table = await inflate(`table-${layer.key}`);
      const rows = layer.rows;
      layer.columns = layer.fields.map((column, index) => {
        const bits = joinPlanes(table, index * rows * 4, rows, 4);
        return { ...column, values: new Float32Array(bits.buffer) };
      });
      layer.rowOf = new Map();
      layer.columns[0].values.forEach((label, row) => layer.rowOf.set(label, row));
    }
    layer.labels = labels;
  }

  // ---- drawing ---------------------------------------------------------------------------------

  function redraw() {
    if (pending) return;
    pending = true;
    requestAnimationFrame(() => {
      pending = false;
      drawBase();
      drawLines();
      drawScaleBar();
    });
  }

  function drawBase() {
    base.setTransform(1, 0, 0, 1, 0, 0);
    base.globalCompositeOperation = "source-over";
    base.fillStyle = "#000000";
    base.fillRect(0, 0, baseCanvas.width, baseCanvas.height);
    base.setTransform(view.scale, 0, 0, view.scale, view.left, view.top);
    base.imageSmoothingEnabled = view.scale < 1.5;
    base.imageSmoothingQuality = "high";
    base.drawImage(image, 0, 0, width, height);
    // Magenta and green share no primary: multiplying by one leaves that channel alone.
    const shown = page.channels.map((_, i) => element(`channel-${i}`)).map((box) => !box || box.checked);
    if (shown.length === 2 && !(shown[0] && shown[1])) {
      base.setTransform(1, 0, 0, 1, 0, 0);
      base.globalCompositeOperation = "multiply";
      base.fillStyle = shown[0] ? "#ff00ff" : shown[1] ? "#00ff00" : "#000000";
      base.fillRect(0, 0, baseCanvas.width, baseCanvas.height);
    } else if (shown.length === 1 && !shown[0]) {
      base.fillStyle = "#000000";
      base.fillRect(0, 0, width, height);
    }
    // Every other channel is added in its own colour.
    base.globalCompositeOperation = "lighter";
    base.setTransform(view.scale, 0, 0, view.scale, view.left, view.top);
    more
      .filter((channel) => channel.toggle.checked)
      .forEach((channel) => base.drawImage(inColour(channel), 0, 0, width, height));
  }

  function inColour(channel) {
    if (!channel.tinted) {
      const { picture } = channel;
      channel.tinted = document.createElement("canvas");
      channel.tinted.width = picture.naturalWidth;
      channel.tinted.height = picture.naturalHeight;
      const ink = channel.tinted.getContext("2d");
      ink.drawImage(picture, 0, 0);
      ink.globalCompositeOperation = "multiply";
      ink.fillStyle = channel.colour;
      ink.fillRect(0, 0, picture.naturalWidth, picture.naturalHeight);
    }
    return channel.tinted;
  }

  function drawLines() {
    const [across, down] = [lineCanvas.width, lineCanvas.height];
    if (!across || !down) return;
    lines.setTransform(1, 0, 0, 1, 0, 0);
    lines.clearRect(0, 0, across, down);
    const on = layers.filter((layer) => layer.toggle.checked);
    if (on.some((layer) => !layer.labels)) {
      // Not unpacked (yet): the outlines that the page shows without a script.
      lines.setTransform(view.scale, 0, 0, view.scale, view.left, view.top);
      lines.imageSmoothingEnabled = view.scale < 1;
      on.forEach((layer) => lines.drawImage(layer.picture, 0, 0, width, height));
      return;
    }
    if (!buffer || buffer.width !== across || buffer.height !== down) {
      buffer = lines.createImageData(across, down);
    }
    const pixels = new Uint32Array(buffer.data.buffer);
    pixels.fill(0);
    const columns = new Int32Array(across);
    for (let x = 0; x < across; x += 1) {
      const at = Math.floor((x + 0.5 - view.left) / view.scale);
      columns[x] = at >= 0 && at < width ? at : -1;
    }
    on.forEach((layer) => drawLayer(layer, pixels, across, down, columns));
    lines.putImageData(buffer, 0, 0);
  }

  // A pixel of the screen is on a line when the label under it differs from the one a line's
  // thickness to the left or above: lines are equally thin at every zoom.
  function drawLayer(layer, pixels, across, down, columns) {
    const [red, green, blue] = layer.colour;
    // Outlines of cells that are specks at this zoom would hide the image: they fade.
    const apparent = (layer.diameter * view.scale) / deviceRatio;
    const alpha = Math.round(255 * Math.min(1, Math.max(0.25, (apparent - 2) / 8)));
    const solid = ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    const tint = ((44 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    const held = ((70 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    const find = (list) => (list.find((hit) => hit.layer === layer) || { label: -2 }).label;
    const [hot, pin] = [find(hovered), find(pinned)];
    const thick = Math.max(1, Math.round(deviceRatio * (view.scale / deviceRatio >= 2 ? 2 : 1)));
    const dash = layer.truth ? Math.round(4 * deviceRatio) : 0;
    const ring = Array.from({ length: thick + 1 }, () => new Int32Array(across));
    for (let y = 0; y < down; y += 1) {
      const row = ring[y % (thick + 1)];
      const at = Math.floor((y + 0.5 - view.top) / view.scale);
      if (at < 0 || at >= height) {
        row.fill(-1);
        continue;
      }
      const start = at * width;
      for (let x = 0; x < across; x += 1) {
        row[x] = columns[x] < 0 ? -1 : layer.labels[start + columns[x]];
      }
      const above = y >= thick ? ring[(y - thick) % (thick + 1)] : row;
      for (let x = 0; x < across; x += 1) {
        const label = row[x];
        if (label < 0) continue;
        const left = x >= thick ? row[x - thick] : label;
        const up = above[x];
        if ((left !== label && left >= 0) || (up !== label && up >= 0)) {
          if (!dash || Math.floor((x + y) / dash) % 2) pixels[y * across + x] = solid;
        } else if (label > 0 && label === pin) pixels[y * across + x] = held;
        else if (label > 0 && label === hot) pixels[y * across + x] = tint;
      }
    }
  }

  function drawScaleBar() {
    element("zoom").textContent = `${Math.round((100 * view.scale) / deviceRatio / factor)} %`;
    if (!page.mpp) return;
    const perMicron = view.scale / deviceRatio / factor / page.mpp[1]; // CSS px
    const room = Math.min(160, frame.clientWidth / 4) / perMicron;
    const power = 10 ** Math.floor(Math.log10(room));
    const length = [5, 2, 1].find((step) => step * power <= room) * power;
    element("scale-line").style.width = `${length * perMicron}px`;
    element("scale-text").textContent = length >= 1000 ? `${length / 1000} mm` : `${tidy(length)} µm`;
    element("scale-bar").hidden = false;
  }

  // ---- zoom and pan ----------------------------------------------------------------------------

  const fitScale = () => Math.min(baseCanvas.width / width, baseCanvas.height / height);

  function fit() {
    const scale = fitScale();
    view = {
      scale,
      left: (baseCanvas.width - width * scale) / 2,
      top: (baseCanvas.height - height * scale) / 2,
    };
    fitted = true;
    redraw();
  }

  function settle() {
    const clamp = (at, length, room) =>
      length <= room ? (room - length) / 2 : Math.min(0, Math.max(room - length, at));
    view.left = clamp(view.left, width * view.scale, baseCanvas.width);
    view.top = clamp(view.top, height * view.scale, baseCanvas.height);
    fitted = view.scale <= fitScale() * 1.001;
    redraw();
  }

  function zoomTo(scale, x = baseCanvas.width / 2, y = baseCanvas.height / 2) {
    const lowest = Math.min(fitScale(), deviceRatio);
    const next = Math.min(Math.max(scale, lowest), 48 * deviceRatio);
    view.left = x - ((x - view.left) * next) / view.scale;
    view.top = y - ((y - view.top) * next) / view.scale;
    view.scale = next;
    settle();
  }

  function pan(right, down) {
    view.left += right * deviceRatio;
    view.top += down * deviceRatio;
    settle();
  }

  function centreOn(x, y, scale) {
    view.scale = scale;
    view.left = baseCanvas.width / 2 - (x + 0.5) * scale;
    view.top = baseCanvas.height / 2 - (y + 0.5) * scale;
    settle();
  }

  function resize() {
    deviceRatio = window.devicePixelRatio || 1;
    const [across, down] = [frame.clientWidth, frame.clientHeight].map((n) =>
      Math.max(1, Math.round(n * deviceRatio)),
    );
    if (across === baseCanvas.width && down === baseCanvas.height) return;
    for (const canvas of [baseCanvas, lineCanvas]) {
      canvas.width = across;
      canvas.height = down;
    }
    if (fitted) fit();
    else settle();
  }

  // ---- cells -----------------------------------------------------------------------------------

  function place(event) {
    const box = frame.getBoundingClientRect();
    const x = (event.clientX - box.left - frame.clientLeft) * deviceRatio;
    const y = (event.clientY - box.top - frame.clientTop) * deviceRatio;
    return {
      x,
      y,
      column: Math.floor((x - view.left) / view.scale),
      row: Math.floor((y - view.top) / view.scale),
      inside: { x: x / deviceRatio, y: y / deviceRatio },
    };
  }

  function cellsAt({ column, row }) {
    if (column < 0 || row < 0 || column >= width || row >= height) return [];
    return layers
      .filter((layer) => layer.labels && layer.toggle.checked)
      .map((layer) => ({ layer, label: layer.labels[row * width + column] }))
      .filter((hit) => hit.label > 0)
      .reverse();
  }

  function tidy(value) {
    if (!Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    if (size >= 1e7 || (size > 0 && size < 1e-4)) return value.toExponential(2);
    const places = size >= 100 || Number.isInteger(value) ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
    return value.toLocaleString("en", { maximumFractionDigits: places });
  }

  function shownValue(column, row) {
    const value = column.values[row];
    if (column.kind === "yes-no") return value ? "yes" : "no";
    return column.unit ? `${tidy(value)} ${column.unit}` : tidy(value);
  }

  function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function describe(hit, brief) {
    const block = make("div", "described");
    const head = make("p", "described-name");
    const swatch = make("span", hit.layer.truth ? "swatch dashed" : "swatch");
    swatch.style.setProperty("--swatch", `rgb(${hit.layer.colour})`);
    head.append(swatch, `${hit.layer.object} ${hit.label}`);
    block.append(head);
    const row = hit.layer.rowOf ? hit.layer.rowOf.get(hit.label) : undefined;
    if (row === undefined) return block;
    const list = make("dl");
    hit.layer.columns.slice(1).forEach((column) => {
      if (brief && !column.brief) return;
      list.append(make("dt", "", column.title), make("dd", "", shownValue(column, row)));
    });
    block.append(list);
    return block;
  }

  function showPanel() {
    const hits = pinned.length ? pinned : hovered;
    panel.classList.toggle("pinned", pinned.length > 0);
    element("unpin").hidden = !pinned.length;
    element("cell-hint").hidden = hits.length > 0;
    element("cell-body").replaceChildren(...hits.map((hit) => describe(hit, false)));
  }

  const same = (a, b) =>
    a.length === b.length && a.every((hit, i) => hit.layer === b[i].layer && hit.label === b[i].label);

  function hover(event) {
    const at = place(event);
    const hits = cellsAt(at);
    const changed = !same(hits, hovered);
    hovered = hits;
    if (changed) {
      tip.replaceChildren(...hits.map((hit) => describe(hit, true)));
      showPanel();
      redraw();
    }
    const inImage = at.column >= 0 && at.row >= 0 && at.column < width && at.row < height;
    const middle = (n) => Math.round((n + 0.5) * factor - 0.5);
    element("position").textContent = inImage
      ? `x ${middle(at.column).toLocaleString("en")}, y ${middle(at.row).toLocaleString("en")} px`
      : "";
    tip.hidden = !hits.length;
    if (!hits.length) return;
    const right = at.inside.x + 18 + tip.offsetWidth > frame.clientWidth;
    const low = at.inside.y + 18 + tip.offsetHeight > frame.clientHeight;
    tip.style.left = `${Math.max(4, right ? at.inside.x - 14 - tip.offsetWidth : at.inside.x + 18)}px`;
    tip.style.top = `${Math.max(4, low ? at.inside.y - 14 - tip.offsetHeight : at.inside.y + 18)}px`;
  }

  function leave() {
    hovered = [];
    tip.hidden = true;
    element("position").textContent = "";
    showPanel();
    redraw();
  }

  function pin(hits) {
    pinned = same(hits, pinned) ? [] : hits;
    showPanel();
    redraw();
  }

  function findCell(label) {
    const message = element("find-message");
    message.textContent = "";
    if (!(label > 0)) return;
    for (const layer of layers) {
      if (!layer.labels || layer.truth || !layer.toggle.checked) continue;
      const first = layer.labels.indexOf(label);
      if (first < 0) continue;
      let [last, least, most] = [layer.labels.lastIndexOf(label), width, 0];
      for (let i = first; i <= last; i += 1) {
        if (layer.labels[i] === label) {
          least = Math.min(least, i % width);
          most = Math.max(most, i % width);
        }
      }
      const [top, bottom] = [Math.floor(first / width), Math.floor(last / width)];
      const side = Math.max(most - least, bottom - top) + 1;
      const room = Math.min(baseCanvas.width, baseCanvas.height);
      const scale = Math.min(Math.max(view.scale, fitScale(), room / (8 * side)), 48 * deviceRatio);
      pinned = [];
      pin([{ layer, label }]);
      centreOn((least + most) / 2, (top + bottom) / 2, scale);
      return;
    }
    message.textContent = factor > 1 ? "not shown at this reduction" : "no such cell in sight";
  }

  // ---- events ----------------------------------------------------------------------------------

  function listen() {
    const pointers = new Map();
    let moved = 0;
    frame.addEventListener("pointerdown", (event) => {
      if (event.button > 0) return;
      pointers.set(event.pointerId, event);
      moved = 0;
      frame.setPointerCapture(event.pointerId);
    });
    frame.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) {
        hover(event);
        return;
      }
      const [right, down] = [event.clientX - before.clientX, event.clientY - before.clientY];
      const others = [...pointers.values()].filter((p) => p.pointerId !== event.pointerId);
      pointers.set(event.pointerId, event);
      moved += Math.abs(right) + Math.abs(down);
      if (others.length) {
        const other = others[0];
        const apart = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY);
        const at = place(event);
        zoomTo((view.scale * apart(event)) / Math.max(1, apart(before)), at.x, at.y);
      } else if (moved > 4) {
        tip.hidden = true;
        frame.classList.add("dragging");
        pan(right, down);
      }
    });
    const release = (event) => {
      const clicked = pointers.delete(event.pointerId) && moved <= 4 && event.type === "pointerup";
      frame.classList.remove("dragging");
      if (clicked) pin(cellsAt(place(event)));
    };
    frame.addEventListener("pointerup", release);
    frame.addEventListener("pointercancel", release);
    frame.addEventListener("pointerleave", leave);
    frame.addEventListener(
      "wheel",
      (event) => {
        // At the whole image, scrolling on scrolls the page.
        if (event.deltaY > 0 && fitted) return;
        event.preventDefault();
        const at = place(event);
        const pixels = event.deltaY * (event.deltaMode === 1 ? 33 : 1);
        zoomTo(view.scale * Math.exp(-pixels * 0.0022), at.x, at.y);
        hover(event);
      },
      { passive: false },
    );
    frame.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const first = layers.find((layer) => !layer.truth);
      const truth = layers.find((layer) => layer.truth);
      const flip = (layer) => layer && layer.toggle.click();
      const actions = {
        "+": () => zoomTo(view.scale * 1.5),
        "=": () => zoomTo(view.scale * 1.5),
        "-": () => zoomTo(view.scale / 1.5),
        0: fit,
        1: () => zoomTo(deviceRatio * factor),
        ArrowLeft: () => pan(60, 0),
        ArrowRight: () => pan(-60, 0),
        ArrowUp: () => pan(0, 60),
        ArrowDown: () => pan(0, -60),
        o: () => flip(first),
        t: () => flip(truth),
        Escape: () => pin([]),
      };
      if (!actions[event.key]) return;
      event.preventDefault();
      actions[event.key]();
    });
    element("zoom-in").addEventListener("click", () => zoomTo(view.scale * 1.5));
    element("zoom-out").addEventListener("click", () => zoomTo(view.scale / 1.5));
    element("zoom-fit").addEventListener("click", fit);
    element("zoom-full").addEventListener("click", () => zoomTo(deviceRatio * factor));
    element("unpin").addEventListener("click", () => pin([]));
    element("brightness").addEventListener("input", (event) => {
      baseCanvas.style.filter = `brightness(${2 ** Number(event.target.value)})`;
    });
    element("find").addEventListener("change", (event) => findCell(Number(event.target.value)));
    layers.forEach((layer) =>
      layer.toggle.addEventListener("change", () => {
        const on = (hit) => hit.layer.toggle.checked;
        [hovered, pinned] = [hovered.filter(on), pinned.filter(on)];
        showPanel();
        redraw();
      }),
    );
    page.channels.forEach((_, i) => {
      const box = element(`channel-${i}`);
      if (box) box.addEventListener("change", redraw);
    });
    more.forEach((channel) => channel.toggle.addEventListener("change", redraw));
    new ResizeObserver(resize).observe(frame);
  }

  function showPlane() {
    const slider = element("plane");
    if (!slider) return;
    const planes = [...document.querySelectorAll(".planes img")];
    slider.addEventListener("input", () => {
      planes.forEach((plane, i) => {
        plane.hidden = i !== slider.valueAsNumber;
      });
      element("plane-number").textContent = planes[slider.valueAsNumber].dataset.place;
    });
  }

  async function start() {
    showPlane();
    await image.decode();
    await Promise.all(layers.map((layer) => layer.picture.decode()));
    document.documentElement.classList.add("live");
    listen();
    resize();
    fit();
    try {
      for (const layer of layers) await unpack(layer);
      redraw();
    } catch (error) {
      element("cell-hint").textContent = "This browser cannot unpack the cells' measurements.";
      console.warn(error);
    }
    frame.dataset.ready = "true";
  }

  start();
})();
