// The parts of a line, told apart by its language.

const GRAMMARS = {
  python: [
    ["comment", /#.*$/],
    ["string", /[rbfu]{0,2}(?:"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')/],
    ["keyword", /\b(?:and|as|assert|async|await|break|class|continue|def|del|elif|else|except|finally|for|from|global|if|import|in|is|lambda|nonlocal|not|or|pass|raise|return|try|while|with|yield|None|True|False)\b/],
    ["value", /\bself\b/],
    ["number", /\b\d[\d_.]*(?:e[-+]?\d+)?\b/],
  ],
  program: [
    ["comment", / {2}# .*$/],
    ["string", /"(?:[^"\\]|\\.)*"/],
    ["value", /%[\w.]+/],
    ["callee", /@[\w.]+/],
    ["type", /\b(?:bool|bf16|[uifc]\d+)(?:\[[^\]]*\])?(?![\w.])/],
    ["keyword", /\b(?:func|return|region|writes)\b/],
    ["op", /(?<=(?:^|= | {2}))[a-z_]\w*(?= (?:[%{\d-]|[a-z]))/],
    ["number", /(?<![\w%.])-?\d+(?:\.\d*)?(?:e[-+]?\d+)?/],
  ],
  llvm: [
    ["comment", /;.*$/],
    ["string", /"[^"]*"/],
    ["value", /%[\w.$-]+/],
    ["callee", /[@!][\w.$-]+/],
    ["type", /<\d+ x [^>]*>|\b(?:i\d+|half|bfloat|float|double|ptr|void|label)\b/],
    ["keyword", /\b(?:define|declare|internal|ret|br|switch|call|tail|phi|select|to|nounwind|noinline|noalias|align)\b/],
    ["op", /(?<== )[a-z]\w+|(?<=^ +)(?:store|fence)\b/],
    ["number", /(?<![\w.])-?(?:0x[\dA-Fa-f]+|\d+(?:\.\d+(?:e[-+]?\d+)?)?)\b/],
  ],
  asm: [
    ["comment", /(?:#|\/\/).*$/],
    ["callee", /^[\w.$]+(?=:)/],
    ["keyword", /(?<=^\s+)\.[\w.]+/],
    ["op", /(?<=^\s+)[a-z]\w*/],
    ["value", /%[a-z]\w*|\b(?:[xw]\d+|v\d+(?:\.\d?[bhsd])?|sp|lr)\b/],
    ["callee2", /\.?L\w+/],
    ["number", /\$?-?(?:0x[\da-f]+|\b\d+)\b/],
  ],
};
for (const [language, parts] of Object.entries(GRAMMARS)) {
  GRAMMARS[language] = new RegExp(parts.map(([name, pattern]) => `(?<${name}>${pattern.source})`).join("|"), "g");
}

// [start, end, kind] of each part of a line.
function partsOf(line, language) {
  const parts = [];
  for (const match of line.matchAll(GRAMMARS[language])) {
    if (!match[0]) continue;
    const kind = Object.entries(match.groups).find(([, text]) => text !== undefined)[0];
    parts.push([match.index, match.index + match[0].length, kind.replace(/\d$/, "")]);
  }
  return parts;
}

// The line as HTML: parts in colours, found words marked, the linked expression underlined.
function colouredLine(line, language, marks, underlines) {
  const parts = partsOf(line.length > 2000 ? "" : line, language);
  const cuts = new Set([0, line.length]);
  for (const [start, end] of [...parts, ...marks, ...underlines]) cuts.add(Math.min(start, line.length)).add(Math.min(end, line.length));
  const places = [...cuts].sort((a, b) => a - b);
  const inside = (ranges, at) => ranges.find(([start, end]) => start <= at && at < end);
  let html = "";
  for (let i = 0; i + 1 < places.length; i++) {
    const at = places[i];
    let piece = escaped(line.slice(at, places[i + 1]));
    if (inside(marks, at)) piece = `<mark>${piece}</mark>`;
    if (inside(underlines, at)) piece = `<u>${piece}</u>`;
    const part = inside(parts, at);
    html += part ? `<span class="t-${part[2]}">${piece}</span>` : piece;
  }
  return html;
}
