"""How the report looks, and the one thing its script does. Both are part of the page, which loads nothing."""

STYLE = """
:root { --page: #fff; --ink: #1d2433; --soft: #566074; --line: #d3d9e3; --panel: #f5f7fa; --link: #2d5fa8;
 color-scheme: light dark }
@media (prefers-color-scheme: dark) {
 :root { --page: #14181f; --ink: #e4e8ef; --soft: #a3aec0; --line: #39424f; --panel: #1c222c; --link: #8ab4f0 } }
@media print {
 :root { --page: #fff; --ink: #1d2433; --soft: #566074; --line: #d3d9e3; --panel: #f5f7fa; --link: #2d5fa8 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 68rem; padding: 1.5rem 1rem 4rem; background: var(--page); color: var(--ink);
 font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { margin-bottom: 0 } h2 { margin-top: 2.6rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem }
h3 { margin: 1.6rem 0 .4rem } a { color: var(--link) } section { scroll-margin-top: 1rem }
p.lead { font-size: 1.1rem; max-width: 48rem } .soft, figcaption { color: var(--soft); font-size: .9rem; max-width: 52rem }
nav ol { list-style: none; display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; margin: .8rem 0; padding: .5rem .8rem;
 background: var(--panel) } nav a { display: inline-block; padding: .2rem 0 }
svg { max-width: 100%; height: auto; font: 11px system-ui, sans-serif }
.wide svg { max-width: none } svg.sample { vertical-align: -2px }
svg text { fill: var(--ink) } svg text[fill] { fill: #fff } svg .title { font-size: 13px; font-weight: 600 }
svg .halo { paint-order: stroke; stroke: var(--page); stroke-width: 3px }
svg .grid { stroke: var(--line); stroke-width: 1 } svg .cell { stroke: var(--line) } svg .part { stroke: var(--page) }
.row { display: flex; flex-wrap: wrap; gap: .5rem 1rem } .row > * { min-width: 0; max-width: 100% } figure { margin: .5rem 0 }
.scroll { overflow-x: auto; max-width: 100% } table { border-collapse: collapse; margin: .6rem 0; overflow-wrap: normal }
th, td { text-align: right; padding: .25rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top }
th:first-child, td:first-child { text-align: left } tbody th { font-weight: 400 }
thead th { font-weight: 600; background: var(--panel) } .text th, .text td { text-align: left }
thead button { all: unset; cursor: pointer } thead button:focus-visible { outline: 2px solid var(--link) }
thead button::after { content: "\\a0\\2195"; color: var(--soft) } th[aria-sort=ascending] button::after { content: "\\a0\\2191" }
th[aria-sort=descending] button::after { content: "\\a0\\2193" }
pre { background: var(--panel); padding: .8rem; overflow-x: auto; overflow-wrap: normal }
.key { margin-right: 1rem; white-space: nowrap } ul { padding-left: 1.2rem }
.swatch { display: inline-block; width: .8em; height: .8em; margin-right: .3em; vertical-align: -1px }
@media (max-width: 600px) { table { font-size: .88rem } th, td { padding: .25rem .4rem } }
@media print { body { max-width: none; padding: 0; font-size: 12px } h2, h3 { break-after: avoid } nav { display: none }
 figure, tr { break-inside: avoid } thead button::after { content: "" } pre { white-space: pre-wrap }
 .scroll { overflow: visible } }
"""

SCRIPT = """
for (const table of document.querySelectorAll(':not(.text) > .scroll > table')) {
  const body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener('click', () => {
      const down = head.getAttribute('aria-sort') === 'ascending';
      for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
      head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      const text = row => row.cells[head.cellIndex].textContent.trim();
      const value = row => parseFloat(text(row).replace(/,/g, ''));
      const order = (a, b) => {
        const x = value(a), y = value(b);
        if (isNaN(x) !== isNaN(y)) return isNaN(x) ? 1 : -1;
        return (isNaN(x) ? text(a).localeCompare(text(b)) : x - y) * (down ? -1 : 1);
      };
      body.append(...[...body.rows].sort(order));
    });
  }
}
"""
