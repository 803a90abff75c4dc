"""The style sheet of the report: light and dark by the reader's setting, one column on a phone."""

STYLE = """
:root { color-scheme: light dark; --paper: #fbfbf9; --card: #ffffff; --ink: #1c2530; --soft: #5b6673; --rule: #dfe3e8;
  --accent: #0b6e63; --other: #7d8fa3; --warn: #a3480c; --prepare: #d99a2b; --infer: #3f7fbf; --answer: #9a5bb0;
  --c0: #0b6e63; --c1: #b4531a; --c2: #3f63b5; --c3: #94338a; --c4: #6b7a12; --c5: #bb2f4a;
  --c6: #2583a6; --c7: #5b5f66; }
@media (prefers-color-scheme: dark) { :root { --paper: #11161c; --card: #19212a; --ink: #e6ebf0; --soft: #9fadbb;
  --rule: #2c3743; --accent: #4fd1bd; --other: #8496aa; --warn: #f0a160; --prepare: #e0b050; --infer: #6aa5e0;
  --answer: #c08ad6; --c0: #4fd1bd; --c1: #f0995c; --c2: #8fa8f5; --c3: #e08ad6; --c4: #bccb5a; --c5: #f58398;
  --c6: #6cc5e6; --c7: #b3b9c2; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 18px 48px; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 1.05rem; margin: 0 0 2px; }
p { margin: 0 0 10px; max-width: 75ch; }
.soft, figcaption, li { color: var(--soft); font-size: .9rem; }
.choice { border-left: 4px solid var(--accent); padding: 4px 0 4px 14px; margin: 18px 0; }
.choice.none { border-color: var(--warn); }
.choice strong { font-size: 1.15rem; }
.cards { display: grid; gap: 18px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 16px 18px; min-width: 0; }
.wide { margin: 18px 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 5px 10px; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child, td.words { text-align: left; }
td:first-child { position: sticky; left: 0; background: var(--card); }
td.words { white-space: normal; min-width: 18ch; color: var(--soft); }
tr.best td:first-child { color: var(--accent); font-weight: 650; }
svg { display: block; width: 100%; height: auto; margin-top: 8px; font: 12px system-ui, sans-serif; fill: var(--ink); }
.grid { stroke: var(--rule); stroke-width: 1; }
.tick, .axis { fill: var(--soft); font-size: 11px; }
.name { font-weight: 600; } .name.best { fill: var(--accent); }
.label { font-size: 11px; }
.fill.best { fill: var(--accent); } .fill.other { fill: var(--other); }
.median { stroke: var(--ink); stroke-width: 2; } .p95 { stroke: var(--ink); stroke-width: 1.2; stroke-dasharray: 2 2; }
.front { fill: none; stroke: var(--accent); stroke-width: 1.5; stroke-dasharray: 5 4; }
.disc { fill-opacity: .45; stroke-width: 1.5; }
.disc.best, .disc.member { fill: var(--accent); stroke: var(--accent); } .disc.member { fill-opacity: .18; }
.disc.other { fill: var(--other); stroke: var(--other); fill-opacity: .18; }
.leader { stroke: var(--soft); stroke-width: .7; }
.stage.prepare { fill: var(--prepare); } .stage.infer { fill: var(--infer); } .stage.answer { fill: var(--answer); }
.key { display: inline-block; width: .75em; height: .75em; border-radius: 2px; margin: 0 .3em 0 .8em; }
.key.prepare { background: var(--prepare); } .key.infer { background: var(--infer); }
.key.answer { background: var(--answer); }
.curve { fill: none; stroke-width: 2; }
.c0 { stroke: var(--c0); } .c1 { stroke: var(--c1); } .c2 { stroke: var(--c2); } .c3 { stroke: var(--c3); }
.c4 { stroke: var(--c4); } .c5 { stroke: var(--c5); } .c6 { stroke: var(--c6); } .c7 { stroke: var(--c7); }
.t0 { fill: var(--c0); } .t1 { fill: var(--c1); } .t2 { fill: var(--c2); } .t3 { fill: var(--c3); }
.t4 { fill: var(--c4); } .t5 { fill: var(--c5); } .t6 { fill: var(--c6); } .t7 { fill: var(--c7); }
ul { margin: 0; padding-left: 1.1em; } li { margin-bottom: 4px; }
"""
