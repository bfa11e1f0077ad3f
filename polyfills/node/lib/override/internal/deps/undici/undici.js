'use strict';
// fetch, Headers, Request, Response and FormData: undici's, whose requests are made by http and https instead of its own client
// (that one parses HTTP with WebAssembly).
const { npm } = internalBinding('megalith');
const http = require('http');

class Dispatcher {
  dispatch(options, handler) {
    const url = new URL(options.path, options.origin);
    const client = url.protocol === 'https:' ? require('https') : http;
    const headers = {};
    const list = options.headers ?? [];
    const entries = !Array.isArray(list) ? Object.entries(list) : Array.isArray(list[0]) ? list : pairs(list);
    for (const [name, value] of entries) headers[name] = value;
    const request = client.request(url, { method: options.method, headers, agent: http.globalAgent });
    let aborted = false, answered = false;
    handler.onConnect((reason) => {
      if (aborted) return;
      aborted = true;
      request.destroy();
      // Once there is an answer, who aborts knows what to do with its body (a redirection drops it).
      if (!answered) handler.onError(reason instanceof Error ? reason : new DOMException('This operation was aborted', 'AbortError'));
    });
    if (aborted) return true;
    const fail = (error) => { if (!aborted) handler.onError(error); };
    request.on('response', (response) => {
      answered = true;
      const raw = response.rawHeaders.map((text) => Buffer.from(text, 'latin1'));
      const resume = () => response.resume();
      if (handler.onHeaders(response.statusCode, raw, resume, response.statusMessage) === false) response.pause();
      response.on('data', (chunk) => { if (handler.onData(chunk) === false) response.pause(); });
      response.on('end', () => { if (!aborted) handler.onComplete(response.rawTrailers); });
      response.on('error', fail);
    });
    request.on('error', fail);
    const { body } = options;
    if (body === null || body === undefined) {
      request.end();
    } else if (typeof body === 'string' || ArrayBuffer.isView(body)) {
      request.end(body);
    } else {
      (async () => {
        for await (const chunk of body) {
          handler.onBodySent?.(chunk);
          if (!request.write(chunk)) await new Promise((resolve) => request.once('drain', resolve));
        }
        request.end();
      })().catch((error) => request.destroy(error));
    }
    return true;
  }
}
function* pairs(flat) { for (let i = 0; i < flat.length; i += 2) yield [`${flat[i]}`, `${flat[i + 1]}`]; }

const dispatcher = new Dispatcher();
npm.replace.set('undici/lib/global', () => ({ getGlobalDispatcher: () => dispatcher, setGlobalDispatcher() {} }));
const { fetch } = npm.require('undici/lib/fetch/index');
module.exports = {
  async fetch(resource, init) {
    try {
      return await fetch(resource, init);
    } catch (error) {
      if (typeof error === 'object') Error.captureStackTrace(error, this.fetch);
      throw error;
    }
  },
  Headers: npm.require('undici/lib/fetch/headers').Headers,
  Request: npm.require('undici/lib/fetch/request').Request,
  Response: npm.require('undici/lib/fetch/response').Response,
  FormData: npm.require('undici/lib/fetch/formdata').FormData,
};
