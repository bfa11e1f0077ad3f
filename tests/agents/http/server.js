// An HTTP server: says its port on stdout and serves until it is asked to stop.
'use strict';

const http = require('http');
const { createHash } = require('crypto');

const server = http.createServer((request, response) => {
  const answer = (status, body, kind = 'text/plain') => {
    response.writeHead(status, {
      'Content-Type': kind,
      'Content-Length': Buffer.byteLength(body),
      'X-Seen': request.headers['x-mark'] ?? 'none',
    });
    response.end(request.method === 'HEAD' ? undefined : body);
  };
  const { pathname, search } = new URL(request.url, 'http://localhost');
  if (request.method === 'POST') {
    const hash = createHash('sha256');
    let bytes = 0;
    request.on('data', (part) => { bytes += part.length; hash.update(part); });
    request.on('end', () => answer(201, JSON.stringify({ bytes, sha256: hash.digest('hex') }), 'application/json'));
  } else if (pathname === '/hello') {
    answer(200, `hello ${search.slice(1)}`);
  } else if (pathname === '/large') {
    answer(200, Buffer.alloc(1 << 20, Buffer.from(Array.from({ length: 256 }, (_, i) => i))), 'application/octet-stream');
  } else if (pathname === '/moved') {
    response.writeHead(302, { Location: '/hello?moved', 'Content-Length': 0 });
    response.end();
  } else if (pathname === '/stop') {
    response.setHeader('Connection', 'close');
    answer(200, 'bye');
    server.close();
    server.closeIdleConnections();
  } else {
    answer(404, 'nothing here');
  }
});

server.listen(0, '127.0.0.1', () => console.log(server.address().port));
