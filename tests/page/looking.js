// Texts whose contrast with what lies beneath them (WCAG 2.2, 1.4.3) is too low: [text, ratio, colour, background].
// Every text at its own middle: all elements there, from the bottom up, are laid over each other.
(lowest) => {
  const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const read = (colour) => {
    if (!known.has(colour)) {
      context.clearRect(0, 0, 1, 1);
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
      known.set(colour, [r, g, b, a / 255]);
    }
    return known.get(colour);
  };
  const over = (below, [r, g, b, a], share = 1) => below.map((value, n) => value * (1 - a * share) + [r, g, b][n] * a * share);
  const light = (colour) => {
    const [r, g, b] = colour.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const opacity = (element) => (element ? Number(getComputedStyle(element).opacity) * opacity(element.parentElement) : 1);
  const paint = (element) => {
    const style = getComputedStyle(element);
    if (element.closest("svg") && element.tagName !== "svg") {
      const share = Number(style.fillOpacity) * Number(style.opacity);
      return style.fill === "none" || element.tagName === "text" || element.tagName === "tspan" ? [] : [[style.fill, share]];
    }
    const stops = style.backgroundImage.match(/(rgba?|color|oklab|color-mix)\([^()]*\)/g) ?? [];
    return [[style.backgroundColor, 1], ...stops.map((stop) => [stop, 1])];
  };
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walker.nextNode()) {
    const text = walker.currentNode, holder = text.parentElement;
    if (!text.data.trim() || ["SCRIPT", "STYLE"].includes(holder.tagName)) continue;
    const range = document.createRange();
    range.selectNodeContents(text);
    const box = range.getClientRects()[0];
    if (!box) continue;
    const stack = document.elementsFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    if (!stack.includes(holder)) continue; // scrolled out of sight, or for screen readers alone
    seen += 1;
    const style = getComputedStyle(holder);
    const beneath = stack.reverse().reduce((below, element) => paint(element).reduce((b, [c, s]) => over(b, read(c), s), below), [255, 255, 255]);
    const colour = over(beneath, read(holder.closest("svg") ? style.fill : style.color), opacity(holder));
    const value = ratio(colour, beneath);
    if (value < lowest) found.push([text.data.trim().slice(0, 40), value.toFixed(2), colour.map(Math.round).join(), beneath.map(Math.round).join()]);
  }
  return { found, seen };
}
