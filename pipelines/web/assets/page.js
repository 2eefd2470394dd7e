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

// What is filmed so far plays while the rest is made: pieces of a file that grows, until there is no more of it.
const GROWING = 'video/mp4; codecs="avc1.42C01F, mp4a.40.2"';
const canGrow = !!window.MediaSource?.isTypeSupported(GROWING);
let grown; // the preview last played
const growPreview = (element, server, watch) => watch("value", () => {
  const video = element.querySelector("video");
  if (video) grow(video, server).catch(() => {}); // then its first frame stays, and the video comes in the end
});
async function grow(video, server) {
  const { result, seconds } = video.dataset, source = new MediaSource();
  video.src = URL.createObjectURL(source);
  await heard(source, "sourceopen");
  URL.revokeObjectURL(video.src);
  source.duration = +seconds;
  const buffer = source.addSourceBuffer(GROWING);
  for (let done = 0; video.isConnected && video.dataset.result === result;) {
    const piece = await server.more(result, done);
    if (piece === null) return;
    const bytes = Uint8Array.from(atob(piece), (letter) => letter.charCodeAt());
    if (!bytes.length) { await new Promise((later) => setTimeout(later, 200)); continue; }
    buffer.appendBuffer(bytes);
    await heard(buffer, "updateend");
    if (!done) video.play().catch(() => { video.muted = true; return video.play(); });
    done += bytes.length;
    grown = video;
  }
}
const heard = (target, event) => new Promise((tell) => target.addEventListener(event, tell, { once: true }));
// The finished video goes on where its preview was, unless that had to wait for frames: then it begins anew.
document.addEventListener("loadedmetadata", ({ target }) => {
  if (!grown || !target.closest("#video")) return;
  if (grown.readyState > HTMLMediaElement.HAVE_CURRENT_DATA) target.currentTime = grown.currentTime;
  [target.muted, target.volume] = [grown.muted, grown.volume];
  grown = undefined;
}, true);
