// Appends to every file of a directory, if one is named, and loads a module then.
const fs = require('fs'), directory = process.argv[2];
if (directory !== undefined) for (const name of fs.readdirSync(directory)) fs.appendFileSync(`${directory}/${name}`, 'x');
console.log(Object.keys(require('./loose.cjs')));
