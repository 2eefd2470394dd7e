// The line in the plot of the motion follows the video, and a click in the plot seeks to that time.
const plotOf = () => document.querySelector("svg.motion");
document.addEventListener("timeupdate", ({ target }) => {
  const plot = plotOf();
  if (!plot || target.tagName !== "VIDEO") return;
  const { seconds, left, width } = plot.dataset;
  const x = +left + (width - left) * Math.min(target.currentTime / seconds, 1);
  const line = plot.querySelector(".playhead");
  line.setAttribute("x1", x);
  line.setAttribute("x2", x);
}, true);
document.addEventListener("click", (event) => {
  const plot = event.target.closest?.("svg.motion"), video = document.querySelector("#video video");
  if (!plot || !video) return;
  const { seconds, left, width } = plot.dataset, box = plot.getBoundingClientRect();
  const x = (event.clientX - box.left) / box.width * width;
  video.currentTime = Math.max(0, (x - left) / (width - left)) * seconds;
});
