// One sound at a time: a card plays on a click, Enter or Space, and stops on the next.
(() => {
  let current = null;
  const page = document.documentElement.dataset;
  Object.assign(page, { played: 0, failed: 0 });
  const stop = () => {
    if (!current) return;
    const { button, sound } = current;
    current = null;
    sound.pause();
    button.setAttribute("aria-pressed", "false");
    button.querySelector(".head").style.opacity = 0;
  };
  const follow = () => {
    if (!current) return;
    const { button, sound } = current;
    const head = button.querySelector(".head");
    head.style.opacity = 1;
    // The picture is as long as what is compared; silence at the end is not played.
    head.style.left = `${Math.min(100, (100 * sound.currentTime) / Number(button.dataset.seconds))}%`;
    requestAnimationFrame(follow);
  };
  for (const button of document.querySelectorAll("button[data-sound]")) {
    button.addEventListener("click", async () => {
      const again = current && current.button === button;
      stop();
      if (again) return;
      const sound = document.getElementById(button.dataset.sound);
      current = { button, sound };
      button.setAttribute("aria-pressed", "true");
      sound.currentTime = 0;
      sound.onended = stop;
      try {
        await sound.play();
        page.played = Number(page.played) + 1;
        follow();
      } catch (error) {
        if (error.name !== "AbortError") page.failed = Number(page.failed) + 1;
        if (current && current.sound === sound) stop();
      }
    });
  }
  const cards = [...document.querySelectorAll("button[data-sound]")];
  document.addEventListener("keydown", (pressed) => {
    const place = cards.indexOf(document.activeElement);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[pressed.key];
    if (place < 0 || !step || pressed.altKey || pressed.ctrlKey || pressed.metaKey) return;
    const next = cards[place + step];
    if (next) {
      next.focus();
      pressed.preventDefault();
    }
  });
})();
