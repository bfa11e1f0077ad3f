// Starts the server given as arguments, asks it for everything, and says what it answered.
'use strict';

const http = require('http');
const { spawn } = require('child_process');
const { createHash } = require('crypto');
const { once } = require('events');

const describe = (body) =>
  body.length < 200 ? body.toString() : `${body.length} bytes, ${createHash('sha256').update(body).digest('hex')}`;

/** One request with http.request; the answer with its body. */
async function ask(options, body) {
  const request = http.request({ host: '127.0.0.1', ...options });
  request.end(body);
  const [response] = await once(request, 'response');
  const parts = [];
  for await (const part of response) parts.push(part);
  return { response, body: Buffer.concat(parts) };
}

(async () => {
  const [command, ...args] = process.argv.slice(2);
  const server = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(server, 'exit');
  const port = Number(await new Promise((resolve) => server.stdout.once('data', (data) => resolve(data.toString()))));
  const base = `http://127.0.0.1:${port}`;
  const show = (name, { response, body }) =>
    console.log(name, response.statusCode, response.headers['content-type'], response.headers['x-seen'], describe(body));

  const got = await new Promise((resolve, reject) => {
    http.get(`${base}/hello?a=1`, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('end', () => resolve({ response, body: Buffer.concat(parts) }));
    }).on('error', reject);
  });
  show('get', got);
  show('header', await ask({ port, path: '/hello', headers: { 'X-Mark': 'blue' } }));
  show('large', await ask({ port, path: '/large' }));
  show('missing', await ask({ port, path: '/none' }));
  show('post', await ask({ port, path: '/', method: 'POST' }, Buffer.alloc(300000, 'x')));

  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const ports = new Set();
  agent.on('free', (socket) => ports.add(socket.localPort));
  for (let turn = 0; turn < 3; turn += 1) show('kept', await ask({ port, path: `/hello?${turn}`, agent }));
  await new Promise((resolve) => setImmediate(resolve));
  console.log('connections', ports.size);
  const head = await ask({ port, path: '/large', method: 'HEAD', agent });
  console.log('head', head.response.statusCode, head.response.headers['content-length'], head.body.length);
  agent.destroy();

  const fetched = await fetch(`${base}/moved`);
  console.log('fetch', fetched.status, fetched.redirected, fetched.headers.get('x-seen'), await fetched.text());
  const posted = await fetch(base, { method: 'POST', body: JSON.stringify({ a: [1, 2] }) });
  console.log('fetch', posted.status, await posted.json());
  const large = await fetch(`${base}/large`);
  console.log('fetch', large.ok, describe(Buffer.from(await large.arrayBuffer())));
  const all = Array.from({ length: 12 }, async (_, n) => (await fetch(`${base}/hello?${n}`)).text());
  console.log('at once', await Promise.all(all));
  const stop = await ask({ port, path: '/stop', agent: false });
  show('stop', stop);
  console.log('server', (await exited)[0]);
  const after = await ask({ port, path: '/hello' }).catch((error) => error);
  console.log('after', after.code);
})();
