// Where a tag is seen: the picture darkened where it is not. One cell of the tagger is one pixel of the canvas.

const DARK = 0.78, FULL = 0.8;  // of black where nothing is seen; of a map from which on nothing is darkened

export function makeMap(canvas, slider) {
  function show(tag) {  // with `name` and `map`, rows of numbers in [0, 1]; null: nothing
    canvas.hidden = !tag;
    canvas.parentElement.classList.toggle("mapped", Boolean(tag));
    if (!tag) return;
    canvas.height = tag.map.length;
    canvas.width = tag.map[0].length;
    canvas.setAttribute("aria-label", `Where ${tag.name} is seen: the rest is dark`);
    const pen = canvas.getContext("2d"), image = pen.createImageData(canvas.width, canvas.height);
    tag.map.flat().forEach((value, cell) => { image.data[4 * cell + 3] = 255 * DARK * (1 - Math.min(1, value / FULL)); });
    pen.putImageData(image, 0, 0);
    slider.place();
    canvas.parentElement.scrollIntoView({ block: "nearest" });  // on a phone the tags stand far below it
  }
  return { show };
}
