// Keeps the live pieces fresh and asks before something is undone; every page works without it.
"use strict";

const EVERY_MS = 2000;
let paused = false;

// A piece stays as it is while somebody is in it or reads what they unfolded.
async function refresh(piece) {
  const url = `/sandbox/page/live/${piece.dataset.live}${location.search}`;
  const answer = await fetch(url, { cache: "no-store" });
  if (!answer.ok) return;
  const fresh = await answer.text();
  if (fresh === piece.lastFresh || piece.contains(document.activeElement) || piece.querySelector("details[open]")) return;
  piece.lastFresh = fresh;
  piece.innerHTML = fresh;
}

async function tick() {
  if (!paused && !document.hidden) {
    await Promise.allSettled([...document.querySelectorAll("[data-live]")].map(refresh));
  }
  setTimeout(tick, EVERY_MS);
}

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.ask;
  if (question && !window.confirm(question)) event.preventDefault();
});

const here = document.querySelector("nav.main [aria-current]");
if (here) here.closest("ul").scrollLeft = here.offsetLeft - here.closest("ul").offsetLeft - 60; // on a narrow screen

const pause = document.querySelector("[data-pause]");
if (pause) {
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Resume updates" : "Pause updates";
  });
}

setTimeout(tick, EVERY_MS);
