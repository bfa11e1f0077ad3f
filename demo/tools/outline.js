#!/usr/bin/env node
// Makes an outline of a Markdown text: reads it from stdin, writes HTML or JSON to stdout.
//
//     outline.js [--json] < text.md
'use strict';

const { createHash } = require('crypto');
const { readFileSync } = require('fs');
const { spawnSync } = require('child_process');

const escape = (text) => text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]);

/** Headings with their levels, and the words, of a Markdown text. */
function parse(text) {
  const headings = [];
  for (const line of text.split('\n')) {
    const heading = /^(#{1,6})\s+(.*?)\s*#*$/.exec(line);
    if (heading) headings.push({ level: heading[1].length, title: heading[2] });
  }
  return { headings, words: text.match(/[\p{L}\p{N}]+/gu) ?? [] };
}

/** The lines in the order that sort(1) gives them, each once. */
function sort(lines) {
  const done = spawnSync('/usr/bin/sort', ['-u'], { input: lines.map((line) => `${line}\n`).join(''), encoding: 'utf8' });
  if (done.error || done.status !== 0) throw done.error ?? new Error(`sort: ${done.stderr}`);
  return done.stdout.split('\n').filter(Boolean);
}

const text = readFileSync(0, 'utf8');
const { headings, words } = parse(text);
const sha256 = createHash('sha256').update(text).digest('hex');
const vocabulary = sort(words.map((word) => word.toLowerCase()));
if (process.argv.includes('--json')) {
  console.log(JSON.stringify({ headings, words: words.length, vocabulary, sha256 }));
} else {
  const rows = headings.map(({ level, title }) => `${'  '.repeat(level)}<li>${escape(title)}</li>`);
  console.log(`<ul>\n${rows.join('\n')}\n</ul>\n<!-- ${words.length} words, ${vocabulary.length} of them different; sha256 ${sha256} -->`);
}
