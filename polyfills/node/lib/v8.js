'use strict';
// What V8 has and Node's library takes for granted, and QuickJS lacks or does otherwise. Runs before anything of Node's.

Error.stackTraceLimit = 10;

// JSON.parse with V8's messages.
{
  const { parse } = JSON;
  const describe = (text, error) => {
    const where = /\(line (\d+) column (\d+)\)$/.exec(error.message);
    if (where === null) return;
    let position = 0;
    for (let line = 1; line < Number(where[1]); line++) position = text.indexOf('\n', position) + 1;
    position += Number(where[2]) - 1;
    error.message = position >= text.length ? 'Unexpected end of JSON input' :
      text[position] === '"' ? `Unexpected string in JSON at position ${position}` :
      /[-0-9]/.test(text[position]) ? `Unexpected number in JSON at position ${position}` :
      `Unexpected token ${text[position]} in JSON at position ${position}`;
  };
  const holder = {
    parse(text, reviver) {
      try {
        return parse(text, reviver);
      } catch (error) {
        if (error instanceof SyntaxError && error.message.endsWith(')')) describe(`${text}`, error);
        throw error;
      }
    },
  };
  Object.defineProperty(JSON, 'parse', { value: holder.parse, writable: true, enumerable: false, configurable: true });
}

// What V8's call sites tell beside what QuickJS's do. Calls as a method and the receiver are not known.
{
  const { prepareStackTrace } = Error;
  Error.prepareStackTrace = (error, sites) => sites;
  const prototype = Object.getPrototypeOf((() => new Error().stack)()[0]);
  Error.prepareStackTrace = prepareStackTrace;
  const methods = {
    getEnclosingColumnNumber() { return this.getColumnNumber(); },
    getEnclosingLineNumber() { return this.getLineNumber(); },
    getEvalOrigin() { return undefined; },
    getMethodName() { return null; },
    getPosition() { return 0; },
    getPromiseIndex() { return null; },
    getScriptNameOrSourceURL() { return this.getFileName(); },
    getThis() { return undefined; },
    getTypeName() { return null; },
    isAsync() { return false; },
    isEval() { return this.getFileName() === '<evalScript>' || this.getFileName() === '<input>'; },
    isPromiseAll() { return false; },
    isToplevel() { return true; },
    toString() {
      const name = this.getFunctionName();
      const line = this.getLineNumber();
      const where = `${this.getFileName() ?? '<anonymous>'}${line > 0 ? `:${line}:${this.getColumnNumber()}` : ''}`;
      return name ? `${this.isConstructor() ? 'new ' : ''}${name} (${where})` : where;
    },
  };
  for (const name of Object.keys(methods))
    Object.defineProperty(prototype, name, { value: methods[name], writable: true, enumerable: false, configurable: true });
}

// QuickJS's own extras that Node 18 does not have and its programs probe for.
for (const name of ['navigator', 'gc', 'bjson', 'DOMException', 'performance', 'queueMicrotask', 'btoa', 'atob', 'Iterator'])
  delete globalThis[name];
