"""How the page looks, in light and dark; nothing in it is fetched from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

from ..palette import Colour
from .drawing import classes

LIGHT = "--paper:#fff;--sheet:#f6f7f9;--rule:#dfe3e8;--ink:#1a1e24;--soft:#5b6470;--accent:#0b6bcb;--edge:#98a1ad"
DARK = "--paper:#14171c;--sheet:#1b1f26;--rule:#313843;--ink:#e7eaee;--soft:#9aa4b1;--accent:#5aa9f5;--edge:#6d7784"

RULES = """
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,"Segoe UI",Roboto,sans-serif}
main{max-width:1500px;margin:0 auto;padding:28px 28px 64px}
h1{font-size:24px;margin:0 0 18px;font-weight:650}
h2{font-size:16px;margin:0;font-weight:650;display:inline-block}
section{margin-top:34px}
section>h2{display:block;margin-bottom:8px}
section>p{margin:0 0 10px;color:var(--soft)}
ul{list-style:none;margin:0;padding:0}
.tiles{display:flex;flex-wrap:wrap;gap:10px}
.tile{background:var(--sheet);border:1px solid var(--rule);border-radius:8px;padding:10px 16px;min-width:112px}
.tile b{display:block;font-size:21px;font-weight:650;font-variant-numeric:tabular-nums;line-height:1.35}
.tile span{color:var(--soft);font-size:12.5px}
.tile:first-child b{color:var(--accent)}
.notes li{margin-top:12px;padding:8px 14px;border-left:3px solid var(--accent);background:var(--sheet)}
.environment{margin:14px 0 0;color:var(--soft);font-size:12.5px;display:flex;flex-wrap:wrap;gap:2px 22px}
.environment div{display:flex;gap:6px;min-width:0}
.environment dt::after{content:":"}
.environment dd{margin:0;color:var(--ink);overflow-wrap:anywhere}
.bars{border-spacing:0 6px;width:100%;max-width:900px;margin-top:6px}
.bars th{font-weight:400;text-align:left;white-space:nowrap;padding:0 14px 0 0;width:1%}
.bars td.number{white-space:nowrap;padding-left:12px;width:1%;text-align:right}
.bar{display:block;height:6px;border-radius:2px;background:var(--line,var(--edge));min-width:1px}
.bars .bar{height:18px}
.bar.accent{background:var(--accent)}
.bar.hollow{background:none;border:1.5px solid var(--accent)}
.strip{display:block;width:100%;height:38px;border-radius:6px;background:var(--sheet)}
.strip rect{fill:var(--line);stroke:var(--paper);stroke-width:.6px;vector-effect:non-scaling-stroke}
.strip g:hover rect,.strip g.picked rect{fill:var(--ink)}
.legend{display:flex;flex-wrap:wrap;gap:4px 22px;margin-top:10px;font-size:13.5px;color:var(--soft)}
.legend b{color:var(--ink);font-weight:600}
.chip{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:7px;vertical-align:-1px}
.chip{background:var(--line);border:1px solid var(--line)}
.bar-of-tools{display:flex;flex-wrap:wrap;gap:8px 14px;align-items:center;margin-bottom:10px}
.bar-of-tools .script,.filter{margin-left:auto}
button,.filter{font:inherit;font-size:13px;color:inherit;background:var(--sheet);border:1px solid var(--rule)}
button,.filter{border-radius:6px;padding:3px 11px}
button{cursor:pointer}
button:hover{border-color:var(--accent)}
.filter{width:220px}
.script{display:none}
.scripted .script{display:inline-flex;gap:6px}
body:not(.scripted) .filter{display:none}
.stage{overflow:auto;max-height:86vh;border:1px solid var(--rule);border-radius:8px;background:var(--sheet)}
.stage>svg{display:block;margin:0 auto}
.scripted .stage{cursor:grab}
.edge{fill:none;stroke:var(--edge);stroke-width:1.2px}
.edge.straight{opacity:.4;stroke-dasharray:5 4}
#arrow path{fill:var(--edge)}
.frame{fill:var(--fill);stroke:var(--line);stroke-width:1.4px}
.rest>.frame{fill:var(--paper);stroke:var(--rule);stroke-width:1px}
.holder>.frame{fill:none;stroke:var(--edge);stroke-dasharray:6 4}
.time{fill:var(--line)}
svg text{font:11px ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:var(--ink)}
svg .name{font-weight:600}
svg .cost,svg .caption{fill:var(--soft)}
.rest .name{font-weight:400;fill:var(--soft)}
.box:hover>.frame{stroke-width:2.6px}
.box.picked>.frame{stroke:var(--ink);stroke-width:3px}
.pointing .edge{opacity:.18}
.pointing .edge.lit{opacity:1;stroke:var(--ink);stroke-width:1.8px}
.tip{position:fixed;z-index:9;max-width:min(560px,94vw);padding:9px 13px;border-radius:8px;white-space:pre-wrap}
.tip{background:var(--ink);color:var(--paper);font-size:12.5px;line-height:1.45;pointer-events:none}
.tip{overflow-wrap:anywhere;box-shadow:0 6px 24px #0005}
.tip::first-line{font-weight:650}
.wide{overflow-x:auto;border:1px solid var(--rule);border-radius:8px}
.wide table{border-collapse:collapse;width:100%;font-size:13.5px}
.wide th{text-align:left;color:var(--soft);font-weight:500;font-size:12.5px;background:var(--sheet);padding:7px 12px}
.wide td{padding:7px 12px;border-top:1px solid var(--rule);vertical-align:top;overflow-wrap:anywhere}
.wide tbody tr:hover{background:var(--sheet)}
.wide tr.picked{background:var(--sheet);box-shadow:inset 3px 0 var(--accent)}
.wide tr.idle .number{color:var(--soft)}
.wide small{display:block;color:var(--soft);font-size:12px}
.wide .number,.bars .number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.wide .number .bar{margin:4px 0 0 auto}
.wide td.backend{white-space:nowrap;font-weight:600;width:1%;min-width:110px}
.shapes{max-width:300px;min-width:170px}
#regions td:nth-child(2){min-width:190px}
#regions td:nth-child(6){min-width:84px}
.scripted #regions th{cursor:pointer}
:focus-visible{outline:2px solid var(--accent);outline-offset:1px}
.others li{display:flex;align-items:baseline;white-space:nowrap}
.others .chip{width:9px;height:9px;margin-right:6px;flex:none}
summary{cursor:pointer;margin-bottom:10px}
@media(max-width:700px){main{padding:16px}.stage{max-height:60vh}.bars th{white-space:normal;width:45%}
.bars td.number{padding-left:8px}#regions{width:980px}.wide table{min-width:560px}}
@media print{.stage{max-height:none;overflow:visible}.stage>svg{max-width:100%;height:auto}button,.filter{display:none}}
"""


def style(colours: Mapping[str, Colour]) -> str:
    """The style sheet, with a class for the colour of each backend."""
    names = classes(colours)
    light = "".join(f".{names[name]}{{--line:{c.line};--fill:{c.light}}}" for name, c in colours.items())
    dark = "".join(f".{names[name]}{{--line:{c.bright};--fill:{c.dark}}}" for name, c in colours.items())
    dashed = [names[name] for name, colour in colours.items() if colour.dashed]
    dashes = "".join(
        f".{c}>.frame{{stroke-dasharray:4 2}}.chip.{c}{{background:none;border-style:dashed}}" for c in dashed
    )
    themes = f":root{{color-scheme:light dark;{LIGHT}}}@media(prefers-color-scheme:dark){{:root{{{DARK}}}{dark}}}"
    return light + themes + RULES + dashes
