// What the pages do beyond reading: dialogs, keys, copying, relative times, live rows, a log that is loaded as it is
// scrolled. Without this file everything can still be read and every form sent.
"use strict";
(() => {
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const one = (selector, from = document) => from.querySelector(selector);
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const load = async (address) => {
    const response = await fetch(address, { headers: { accept: "text/html" } });
    if (!response.ok) throw new Error(`${address}: ${response.status}`);
    return new DOMParser().parseFromString(await response.text(), "text/html");
  };
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  // a form that failed is answered from its own address: the bar says the page's
  const page = one('meta[name="coroner-page"]');
  if (page) history.replaceState(null, "", page.content);

  // ---- relative times, with the words of the server ----

  const ago = (at) => {
    const seconds = Math.round((Date.now() - at) / 1000);
    const day = () => new Date(at).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
    if (seconds <= -60 || seconds >= 604800) return day();
    if (seconds < 45) return "just now";
    if (seconds < 3570) return `${Math.round(seconds / 60)} min ago`;
    if (seconds < 84600) return `${Math.round(seconds / 3600)} h ago`;
    return `${Math.round(seconds / 86400)} d ago`;
  };
  const tellTimes = () => {
    for (const time of all("time[datetime]")) {
      const text = ago(Date.parse(time.dateTime));
      if (time.textContent !== text) time.textContent = text;
    }
  };
  setInterval(tellTimes, 30000);

  // ---- copying ----

  const equip = (root) => {
    for (const button of all("[data-copy]", root)) button.hidden = !navigator.clipboard;
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    const source = button && document.getElementById(button.dataset.copy);
    if (!source) return;
    const label = one("span", button);
    try {
      await navigator.clipboard.writeText(source.textContent);
      label.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      label.textContent = "Selected";
    }
    setTimeout(() => { label.textContent = "Copy"; }, 1600);
  });

  // ---- the analysis as a dialog: its address is in the bar while it is open ----

  let opener = null;
  const close = (dialog) => {
    dialog.close();
    dialog.remove();
    if (opener?.isConnected) opener.focus();
    opener = null;
  };
  const openDialog = async (link) => {
    let page;
    try { page = await load(link.href); } catch { location.assign(link.href); return; }
    const analysis = one("[data-analysis]", page);
    if (!analysis || one("dialog[open]")) { location.assign(link.href); return; }
    const dialog = make("dialog", { class: "modal", "aria-labelledby": "verdict-title" }, document.importNode(analysis, true));
    document.body.append(dialog);
    equip(dialog);
    opener = link;
    dialog.showModal();
    history.pushState({ dialog: true }, "", link.href);
    dialog.addEventListener("cancel", (event) => { event.preventDefault(); history.back(); });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || event.target.closest("[data-close]")) history.back();
    });
  };
  addEventListener("popstate", () => {
    const dialog = one("dialog.modal");
    if (dialog) close(dialog);
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-modal]");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    openDialog(link);
  });

  // ---- keys ----

  const KEYS = [["/", "search"], ["j", "next row"], ["k", "row before"], ["Enter", "open the row"], ["a", "open its analysis"], ["Esc", "close, or leave the search"], ["?", "this list"]];
  const showKeys = () => {
    if (one("dialog[open]")) return;
    const list = make("dl");
    for (const [key, what] of KEYS) list.append(make("dt", {}, make("kbd", {}, key)), make("dd", {}, what));
    const button = make("button", { type: "button", class: "quiet small" }, "Close");
    const title = make("h2", { id: "keys-title" }, "Keys");
    const dialog = make("dialog", { class: "keys", "aria-labelledby": "keys-title" }, make("div", { class: "top" }, title, button), list);
    const before = document.activeElement;
    button.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => { dialog.remove(); before?.focus?.(); });
    document.body.append(dialog);
    dialog.showModal();
  };
  const rowLinks = () => all("a[data-row]");
  const step = (by) => {
    const links = rowLinks();
    if (!links.length) return;
    const row = document.activeElement?.closest("tr, li");
    const at = links.findIndex((link) => row && row.contains(link));
    const next = at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + by));
    links[next].focus({ preventScroll: false });
    links[next].closest("tr, li").scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select");
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (typing) {
      if (event.key === "Escape" && typing.matches("input[type=search]")) typing.blur();
      return;
    }
    if (one("dialog[open]")) return;
    const search = one("[data-search]");
    const act = {
      "/": () => search && (search.focus(), search.select()),
      j: () => step(1),
      k: () => step(-1),
      a: () => one("a[data-modal]", document.activeElement?.closest("tr, li") ?? document.createElement("p"))?.click(),
      "?": showKeys,
    }[event.key];
    if (act) { event.preventDefault(); act(); }
  });

  // ---- filters are sent when they are chosen ----

  for (const form of all("[data-filters]")) {
    const submit = one("[data-submit]", form);
    if (submit) submit.hidden = true;
    form.addEventListener("change", (event) => { if (event.target.matches("select")) form.requestSubmit(); });
    // what is empty need not stand in the address
    form.addEventListener("submit", () => { for (const field of form.elements) field.disabled = field.name && !field.value; });
    addEventListener("pageshow", () => { for (const field of form.elements) field.disabled = false; });
  }

  // ---- live rows: an event says that something is new; what is new is read as a page ----

  const renew = async () => {
    const page = await load(location.href).catch(() => null);
    if (!page) return;
    for (const area of all("[data-live]")) {
      const fresh = one(`[data-live="${area.dataset.live}"]`, page);
      if (!fresh || !area.dataset.live) continue;
      const known = new Set(all("[data-number]", area).map((row) => row.dataset.number));
      const focused = document.activeElement?.closest("[data-number]")?.dataset.number;
      const which = document.activeElement?.matches("[data-modal]") ? "[data-modal]" : "[data-row]";
      area.replaceChildren(...document.importNode(fresh, true).childNodes);
      for (const row of all("[data-number]", area)) {
        if (!known.has(row.dataset.number) && !calm.matches) row.classList.add("fresh");
        if (row.dataset.number === focused) one(which, row)?.focus({ preventScroll: true });
      }
    }
    all("[data-running]").forEach((place, i) => {
      const fresh = all("[data-running]", page)[i];
      if (fresh) { place.className = fresh.className; place.replaceChildren(...document.importNode(fresh, true).childNodes); }
    });
    equip(document);
  };
  const live = all("[data-live]").some((area) => area.dataset.live);
  if (live && window.EventSource) {
    let waiting = 0;
    const soon = () => {
      if (waiting || document.hidden || one("dialog[open]")) return;
      waiting = setTimeout(() => { waiting = 0; renew(); }, 400);
    };
    const events = new EventSource("/api/v1/events");
    for (const name of ["started", "ended", "diagnosed"]) events.addEventListener(name, soon);
    addEventListener("pagehide", () => events.close());
  }

  // ---- the log: pieces of lines, loaded as they come into view; the rest is empty space of the right height ----

  const PIECE = 200;
  const LINE = 20;
  // more than this is too tall for a browser
  const TALLEST = 600000;
  const view = (box) => {
    let total = Number(box.dataset.total);
    const pieces = new Map();
    const above = make("div", { class: "fill" });
    const below = make("div", { class: "fill" });
    const given = one("ol", box);
    // the part of the log that the scroller stands for
    const base = total <= TALLEST ? 0 : Math.min(Math.max(0, Math.floor((box.dataset.at - TALLEST / 2) / PIECE) * PIECE), Math.max(0, total - TALLEST));
    const end = () => Math.min(total, base + TALLEST);
    for (let from = Number(box.dataset.first); from <= total && given.children.length; from += PIECE) {
      const list = make("ol");
      list.append(...[...given.children].slice(0, PIECE));
      pieces.set((from - 1) / PIECE, list);
    }
    given.remove();
    const middle = make("div");
    box.append(above, middle, below);
    const loading = new Set();
    const fetchPiece = async (k) => {
      if (pieces.has(k) || loading.has(k)) return;
      loading.add(k);
      try {
        const page = await load(`${box.dataset.log}?from=${k * PIECE + 1}`);
        const list = make("ol");
        list.append(...all("li", page).map((line) => document.importNode(line, true)));
        pieces.set(k, list);
        draw();
      } catch { /* the next scroll tries again */ }
      loading.delete(k);
    };
    let drawn = "";
    const draw = () => {
      const first = Math.floor((base + box.scrollTop / LINE) / PIECE);
      const last = Math.floor((base + (box.scrollTop + box.clientHeight) / LINE) / PIECE);
      const from = Math.max(Math.floor(base / PIECE), first - 1);
      const to = Math.min(Math.floor((end() - 1) / PIECE), last + 1);
      const shown = [];
      let key = "";
      for (let k = from; k <= to; k++) {
        const there = pieces.get(k);
        const height = Math.min(PIECE, end() - k * PIECE) * LINE;
        if (there) { shown.push(there); key += `${k} `; } else {
          const gap = make("div", { class: "fill" });
          gap.style.height = `${height}px`;
          shown.push(gap);
          key += `-${k} `;
          fetchPiece(k);
        }
      }
      if (key === drawn) return;
      drawn = key;
      above.style.height = `${(from * PIECE - base) * LINE}px`;
      below.style.height = `${Math.max(0, end() - (to + 1) * PIECE) * LINE}px`;
      middle.replaceChildren(...shown);
      // what was seen long ago is let go
      if (pieces.size > 60) for (const k of pieces.keys()) if (k < from - 20 || k > to + 20) pieces.delete(k);
    };
    let asked = false;
    box.addEventListener("scroll", () => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => { asked = false; draw(); });
    }, { passive: true });
    const go = (line, quietly) => {
      above.style.height = "0px";
      below.style.height = `${(end() - base) * LINE}px`;
      middle.replaceChildren();
      drawn = "";
      box.scrollTop = Math.max(0, (line - 1 - base) * LINE - box.clientHeight * 0.38);
      draw();
      for (const hit of all(".hit", box)) hit.classList.remove("hit");
      const mark = () => document.getElementById(`L${line}`)?.classList.add("hit");
      mark();
      if (!quietly) setTimeout(mark, 300);
    };
    document.addEventListener("click", (event) => {
      const link = event.target.closest("[data-jump]");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
      const line = Number(link.dataset.jump);
      if (line <= base || line > end()) return;
      event.preventDefault();
      history.replaceState(null, "", link.href);
      go(line);
      box.focus({ preventScroll: true });
    });
    go(Number(box.dataset.at), true);
    if (!/^#L/.test(location.hash)) for (const hit of all(".hit", box)) hit.classList.remove("hit");
  };
  for (const box of all("[data-log]")) view(box);

  equip(document);
  tellTimes();
})();
