"""The page's style sheet."""

CSS = """
:root { color-scheme: light dark; --ink: #1b2026; --quiet: #646c76; --page: #fbfbfa; --card: #fff; --line: #e3e5e8;
  --method: #2f9e8f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --quiet: #98a1ac; --page: #14171b; --card: #1b1f25; --line: #2d333b; --method: #4cc0b0; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.55 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 12px; letter-spacing: -0.01em; }
h2 { font-size: 17px; margin: 0 0 14px; }
header p { color: var(--quiet); margin: 4px 0; max-width: 90ch; }
header .kicker { color: var(--method); font-weight: 600; letter-spacing: 0.04em; margin: 0 0 4px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 20px 22px;
  margin: 18px 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 14px; margin: 24px 0 18px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 18px; }
.tile b { display: block; font-size: 24px; font-variant-numeric: tabular-nums; letter-spacing: -0.01em; }
.tile span, .note, figcaption, footer, summary { color: var(--quiet); font-size: 13.5px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 13.5px; }
table.small { width: auto; margin-top: 10px; }
th, td { padding: 6px 7px; text-align: right; white-space: nowrap; }
thead th { color: var(--quiet); font-weight: 500; white-space: normal; vertical-align: bottom; }
tbody th { text-align: left; font-weight: 500; }
tbody tr { border-top: 1px solid var(--line); }
tr.teacher { color: var(--quiet); }
tr[data-method] th { font-weight: 650; color: var(--method); }
tr.differs td, tr.missing td { color: #c4532f; }
td small, .strip small { color: var(--quiet); font-weight: 400; }
td.none { color: var(--quiet); }
.legend { display: grid; grid-template-columns: max-content 1fr; gap: 2px 14px; margin: 16px 0 8px; font-size: 13.5px; }
.legend dt { font-weight: 500; } .legend dd { margin: 0; color: var(--quiet); }
figure { margin: 0; } figure svg { width: 100%; height: auto; display: block; color: var(--ink); font-family: inherit; }
figcaption { margin-top: 8px; }
.panel input { position: absolute; opacity: 0; }
.panel label { display: inline-block; padding: 3px 14px; border: 1px solid var(--line); border-radius: 6px;
  font-size: 13.5px; margin-right: 6px; color: var(--quiet); cursor: pointer; }
.panel input:checked + label { background: var(--method); border-color: var(--method); color: #fff; }
.panel input:focus-visible + label { outline: 2px solid var(--ink); }
.bar { display: inline-flex; align-items: center; gap: 8px; font-size: 12.5px; color: var(--quiet); margin-left: 14px; }
.bar i { width: 160px; height: 9px; border-radius: 5px; }
.panel .e:not(input) { display: none; }
.panel input.e:checked ~ .bar.e { display: inline-flex; }
.panel input.e:checked ~ .bar.d { display: none; }
.panel input.e:checked ~ .strips img.e { display: block; }
.panel input.e:checked ~ .strips img.d { display: none; }
.strips { margin-top: 12px; overflow-x: auto; }
.strip, .names { display: grid; grid-template-columns: 128px minmax(680px, 1fr); align-items: center; margin: 3px 0; }
.strip b { font-weight: 500; font-size: 13px; line-height: 1.3; padding-right: 10px; overflow-wrap: anywhere; }
.strip small { display: block; font-size: 11.5px; }
.strip img { width: 100%; display: block; border-radius: 3px; }
.names { grid-template-columns: 128px; grid-auto-flow: column; grid-auto-columns: minmax(110px, 1fr); font-size: 11.5px;
  color: var(--quiet); text-align: center; }
footer { margin-top: 24px; } pre { overflow-x: auto; font-size: 12px; }
details summary { cursor: pointer; }
"""
