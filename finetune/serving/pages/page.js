"use strict";
(() => {
  const MOST_SCORES = 10;
  let pairs = false;
  const at = (id) => document.getElementById(id);
  const make = (name, text = "", kind = "") => {
    const element = document.createElement(name);
    element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };
  const points = (text) => Array.from(text); // offsets count characters, as Python does, not UTF-16 units
  const tagged = (answer) => {
    const characters = points(answer.text), parts = [];
    let done = 0;
    for (const entity of answer.entities) {
      parts.push(characters.slice(done, entity.start).join(""));
      const mark = make("mark", characters.slice(entity.start, entity.end).join(""));
      mark.append(make("b", `${entity.type} ${entity.score.toFixed(2)}`));
      parts.push(mark);
      done = entity.end;
    }
    return [...parts, characters.slice(done).join("")];
  };
  const words = (answer) => answer.words.flatMap((word, index) => {
    const mark = make("mark", word);
    mark.append(make("b", answer.tags[index]));
    return [mark, " "];
  });
  const scores = (answer) => {
    const chosen = answer.labels ?? [answer.label];
    const best = Object.entries(answer.scores).sort((a, b) => b[1] - a[1]).slice(0, MOST_SCORES);
    return best.map(([label, score]) => {
      const row = make("div", "", chosen.includes(label) ? "score chosen" : "score");
      const meter = make("meter");
      meter.value = score;
      meter.setAttribute("aria-label", label);
      row.append(make("span", label), meter, make("span", score.toFixed(4), "number"));
      return row;
    });
  };
  const show = (answer) => {
    const item = make("li");
    if (answer.entities) item.append(...tagged(answer));
    else if (answer.tags) item.append(...words(answer));
    else if (answer.scores) item.append(make("div", answer.text), ...scores(answer));
    else item.append(make("div", answer.text), make("b", String(answer.value)));
    return item;
  };
  const bodyOf = (lines) => {
    if (!pairs) return { texts: lines };
    const both = lines.map((line) => [...line.split("\t"), ""]);
    return { texts: both.map((pair) => pair[0]), text_pairs: both.map((pair) => pair[1]) };
  };
  const say = (text, bad = false) => {
    at("status").textContent = text;
    at("status").className = bad ? "bad" : "muted";
  };
  const predict = async () => {
    const lines = at("text").value.split("\n").filter((line) => line.trim());
    if (!lines.length) return say("Write a text first.", true);
    const button = document.querySelector("button"), start = performance.now();
    button.disabled = true;
    try {
      await known; // what the model reads decides what it is asked
      const headers = { "Content-Type": "application/json" };
      const response = await fetch("predict", { method: "POST", headers, body: JSON.stringify(bodyOf(lines)) });
      const answer = await response.json();
      if (!response.ok) return say(answer.error, true);
      at("results").replaceChildren(...answer.predictions.map(show));
      say(`${lines.length} predicted in ${Math.round(performance.now() - start)} ms.`);
    } catch {
      say("The service cannot be reached.", true);
    } finally {
      button.disabled = false;
    }
  };
  at("form").addEventListener("submit", (event) => { event.preventDefault(); predict(); });
  at("text").addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) predict(); });
  const known = fetch("health").then((response) => response.json()).then((facts) => {
    const task = facts.task.replace("_", " ");
    pairs = facts.pairs;
    if (pairs) document.querySelector("label").textContent = "Pairs of texts, one a line, with a tab between the two";
    at("about").textContent = `${facts.model}: ${task}, ${facts.labels.length} labels`;
  }, () => say("The service cannot be reached.", true));
})();
