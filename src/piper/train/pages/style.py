"""How a page looks: light, dark, on a phone, on paper. Table of text."""

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #fff; --raised: #f5f6f8; --ink: #1b1d22; --faint: #5a606b; --line: #d5d9e0;
  --link: #1a56b0; --bar: #3d6fb6; --error: #b3261e; --warning: #8a5300; --note: #2b5f8f;
  --ready: #1c6b33; --span: #e0452e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14161a; --raised: #1e2127; --ink: #e6e8ec; --faint: #a0a7b4; --line: #3a3f49;
    --link: #8ab4f8; --bar: #7aa7e8; --error: #ff8a80; --warning: #ffb74d; --note: #90caf9;
    --ready: #81c995; --span: #ff6e57;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-padding-top: 1rem; }
body {
  font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground);
  max-width: 64rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; overflow-wrap: anywhere;
}
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
h4 { font-size: 1rem; margin: 0; }
p { margin: .5rem 0; max-width: 45rem; }
a { color: var(--link); }
a:focus-visible, summary:focus-visible, .scroll:focus-visible {
  outline: 2px solid var(--link); outline-offset: 2px;
}
pre {
  background: var(--raised); border: 1px solid var(--line); border-radius: .4rem;
  padding: .6rem .8rem; white-space: pre-wrap;
}
.verdict {
  border: 1px solid var(--line); border-left: .4rem solid var(--kind); border-radius: .4rem;
  background: var(--raised); padding: .8rem 1rem;
}
.verdict strong { font-size: 1.25rem; color: var(--kind); }
.error { --kind: var(--error); } .warning { --kind: var(--warning); }
.note { --kind: var(--note); } .ready { --kind: var(--ready); }
.kind { color: var(--kind); font-weight: 600; white-space: nowrap; }
.faint { color: var(--faint); }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td {
  text-align: left; vertical-align: top; padding: .3rem .9rem .3rem 0;
  border-bottom: 1px solid var(--line);
}
th { color: var(--faint); font-weight: 600; white-space: nowrap; }
.figure { text-align: right; white-space: nowrap; }
dl {
  display: grid; grid-template-columns: fit-content(45%) 1fr; gap: .15rem 1rem; margin: .5rem 0;
}
dt { color: var(--faint); } dd { margin: 0; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr));
  gap: 1rem 1.5rem; }
.charts h3 { margin: .5rem 0 0; font-size: 1rem; }
figure { margin: 0; }
figcaption { color: var(--faint); font-size: .9rem; }
.histogram { width: 100%; height: auto; display: block; }
.histogram text { font: 10px system-ui, sans-serif; fill: var(--faint); }
.histogram .bar { fill: var(--bar); }
.histogram .line { stroke: var(--line); fill: none; }
.histogram .dot { fill: var(--bar); fill-opacity: .3; }
.histogram .middle { stroke: var(--ink); stroke-width: 2; fill: none; }
.histogram .limit { stroke: var(--span); stroke-width: 1.5; stroke-dasharray: 4 3; fill: none; }
summary { cursor: pointer; color: var(--link); padding: .2rem 0; }
article {
  border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem; margin: .8rem 0;
}
blockquote { margin: .5rem 0; padding-left: .8rem; border-left: 3px solid var(--line); }
.strip { display: block; width: 100%; height: 4rem; background: var(--raised); }
.spectrogram { position: relative; }
.spectrogram .strip { height: 7rem; background: #440154; }
.spectrogram .pitch {
  position: absolute; left: 0; top: 0; padding: 0 .4rem; font-size: .75rem;
  color: #fff; background: #0009;
}
.wave { fill: var(--bar); stroke: var(--bar); stroke-width: 1; vector-effect: non-scaling-stroke; }
.span {
  fill: var(--span); fill-opacity: .25; stroke: var(--span); stroke-width: 1.5;
  vector-effect: non-scaling-stroke;
}
.spectrogram .span { fill: none; stroke: #fff; stroke-width: 2; stroke-dasharray: 6 4; }
.times { display: flex; justify-content: space-between; color: var(--faint); font-size: .8rem; }
audio { display: block; width: 100%; max-width: 30rem; height: 2.5rem; margin-top: .5rem; }
ul { padding-left: 1.2rem; }
@media (max-width: 40rem) {
  th, td { padding-right: .6rem; }
  article { padding: .6rem .7rem; }
}
@media print {
  :root { color-scheme: light; --ground: #fff; --raised: #f5f6f8; --ink: #000; --faint: #444;
    --line: #bbb; --link: #000; --bar: #3d6fb6; --error: #b3261e; --warning: #8a5300;
    --note: #2b5f8f; --ready: #1c6b33; --span: #e0452e; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  audio { display: none; }
  article, figure, tr { break-inside: avoid; }
  h2, h3, h4 { break-after: avoid; }
  .scroll { overflow: visible; }
}
"""
