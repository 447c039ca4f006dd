// The slider between before and after: mouse, touch, and arrow keys on its handle.

export function makeSlider(box, handle, image) {
  let share = 0.5;

  function place() {
    const outer = box.getBoundingClientRect(), inner = image.getBoundingClientRect();
    box.style.setProperty("--at", `${100 * share}%`);
    box.style.setProperty("--share", share);
    box.style.setProperty("--from", `${inner.left - outer.left}px`);
    box.style.setProperty("--wide", `${inner.width}px`);
    box.style.setProperty("--high", `${inner.height}px`);
    handle.setAttribute("aria-valuenow", Math.round(100 * share));
    handle.setAttribute("aria-valuetext", `${Math.round(100 * share)} % before`);
  }
  function move(to) { share = Math.min(1, Math.max(0, to)); place(); }
  function follow(event) {
    const inner = image.getBoundingClientRect();
    if (inner.width) move((event.clientX - inner.left) / inner.width);
  }

  box.addEventListener("pointerdown", event => {
    if (event.button || box.classList.contains("busy") || event.target.closest("button")) return;
    box.setPointerCapture(event.pointerId);
    follow(event);
    box.addEventListener("pointermove", follow);
  });
  for (const end of ["pointerup", "pointercancel"]) box.addEventListener(end, () => box.removeEventListener("pointermove", follow));
  handle.addEventListener("keydown", event => {
    const steps = { ArrowLeft: -0.02, ArrowDown: -0.02, ArrowRight: 0.02, ArrowUp: 0.02, PageDown: -0.1, PageUp: 0.1 };
    if (event.key === "Home") move(0);
    else if (event.key === "End") move(1);
    else if (event.key in steps) move(share + steps[event.key]);
    else return;
    event.preventDefault();
  });
  image.addEventListener("load", place);
  new ResizeObserver(place).observe(box);
  return { place, reset: () => move(0.5) };
}
