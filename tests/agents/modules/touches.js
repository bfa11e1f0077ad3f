// Appends to each file that is named, and loads a module then.
for (const file of process.argv.slice(2)) require('fs').appendFileSync(file, 'x');
console.log(Object.keys(require('./loose.cjs')));
