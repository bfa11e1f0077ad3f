'use strict';
// The one way by which files become code. Under the policy `sealed` only files whose hash is in the manifest pass, and source
// that comes from no file (-e, -p, stdin, the REPL) does not.

const refusal = (message, path) => {
  const error = new Error(message);
  error.code = 'ERR_ACCESS_DENIED';
  if (path !== undefined) error.path = path;
  return error;
};

exports.read = (path) => {
  const fd = native.openCode(path);
  if (fd === -13 && native.isSealed())
    throw refusal(`${path}: not in the manifest: this process may load sealed code only`, path);
  if (fd < 0) load('errno').throwErrno(fd, 'open', path);
  const text = native.readText(fd);
  native.close(fd);
  if (typeof text === 'number') load('errno').throwErrno(text, 'read');
  return text;
};

// Throws when source from `origin` (an option's name, "stdin", "the REPL") may not run.
exports.checkOrigin = (origin) => {
  if (native.isSealed()) throw refusal(`${origin}: this process may load sealed code only`);
};
