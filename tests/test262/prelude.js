// What test262 expects of its host, as far as plain qjs can give it: read before the suite's own harness.
globalThis.print ??= console.log;
globalThis.$DONE = error => print(error ? `Test262:AsyncTestFailure: ${error}` : 'Test262:AsyncTestComplete');
// The harness that SpiderMonkey's copy of the suite comes with makes its $262 of these.
globalThis.reportCompare = globalThis.quit = () => {};
globalThis.createIsHTMLDDA = () => null;
globalThis.helperThreadCount = () => 0;
globalThis.evaluate = text => (0, eval)(text);
globalThis.detachArrayBuffer = buffer => void buffer.transfer();
